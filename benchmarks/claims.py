"""How long a claim takes, and how many there are in a second: ours, and plain Optuna's `ask` with the same space.

Every worker is a process of its own that has read the study already (warm), unless the cold one is what is measured.
"""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
import optuna

from benchmarks.databases import EVALUATIONS, make_plain, make_study, queue_ours, show_curves, space_of
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import Trials, TrialsSettings
from foldrace.search.trials.protocol_timer import ProtocolTimer
from foldrace.storage.database import Database
from foldrace.storage.workers import WorkerIdentity
from tests.support.claims import NO_HEARTBEAT
from tests.support.records import record_at

_QUEUED = 1200
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Rate:
    """Claims of `workers` processes in a study with `history` finished trials.

    Attributes:
        median, late: milliseconds of one claim, and of the slowest of a hundred.
        per_second: claims, each ended at once, of all workers together.
        crashed: workers that a claim ended with an error.
    """

    system: str
    history: int
    workers: int
    claims: int
    median: float
    late: float
    per_second: float
    crashed: int


@dataclass(frozen=True)
class Compute:
    """CPU milliseconds of a warm worker's claim of a new trial, each after a fold has ended; the least of a few.

    Attributes:
        order: of the search: by `folds` a third of the trials is put aside after the first one.
        trials: that have ended, or are put aside.
        belief: what is believed, and the ranking of the folds; the rest draws the values, and is the protocol's.
    """

    order: str
    trials: int
    claim: float
    belief: float


@dataclass(frozen=True)
class Reports:
    """What `reporters` trials with `steps` reports each left in the database; milliseconds of one report."""

    system: str
    reporters: int
    steps: int
    stored: int
    median: float
    late: float
    seconds: float


class _Ours:
    """Claims and ends trials of our protocol."""

    def __init__(self, database: Database, name: str, history: int, queued: int = _QUEUED) -> None:
        self._database, self._study = database, queue_ours(database, name, history, queued)

    def warm(self) -> None:
        self._trials = Trials(self._database, self._study, WorkerIdentity())
        claim = self._trials.claim()
        assert claim is not None
        claim.finish(0.5)

    def join(self) -> None:
        """Be a worker of one's own that has read what its parent had read."""
        _forget_connections(self._database)
        trials = Trials(self._database, self._study, WorkerIdentity())
        trials._sampler = self._trials._sampler
        self._trials = trials

    def begin(self) -> Claim | None:
        return self._trials.claim()

    def report(self, claim: Claim, step: int) -> None:
        claim.report(step // 8, 0.5, record_at(step % 8, 0.5))

    def end(self, claim: Claim) -> None:
        claim.finish(0.5)


class _Plain:
    """Asks and tells, without anything that keeps a trial safe."""

    def __init__(self, database: Database, name: str, history: int, queued: int = _QUEUED) -> None:
        self._database, self._name = database, name
        self._space = space_of(make_study(name, 1))
        make_plain(database, name, history)
        self._url = database._url.render_as_string(hide_password=False)

    def warm(self) -> None:
        self._study = optuna.load_study(study_name=self._name, storage=self._url)
        self._study.tell(self._study.ask(self._space), 0.5)

    def join(self) -> None:
        engine: Any = self._study._storage
        engine._backend.engine.dispose(close=False)

    def begin(self) -> optuna.Trial:
        return self._study.ask(self._space)

    def report(self, claim: optuna.Trial, step: int) -> None:
        claim.report(0.5, step)

    def end(self, claim: optuna.Trial) -> None:
        self._study.tell(claim, 0.5)


_SYSTEMS: dict[str, type[Any]] = {"ours": _Ours, "plain": _Plain}


def claim_rate(system: str, url: str, history: int, workers: int, seconds: float) -> Rate:
    """Let `workers` claim and end trials for so many seconds, and once each at least."""
    database = Database.open(url)
    side = _SYSTEMS[system](database, f"{system}-{history}-{workers}", history)
    side.warm()
    start = _FORK.Barrier(workers)
    found = _in_processes(workers, lambda _: _claim_for(side, seconds, start))
    database.close()
    lived = [each for each in found if each is not None]
    spent = np.array([each for times, _ in lived for each in times]) * 1000
    rate = sum(len(times) / elapsed for times, elapsed in lived)
    return Rate(system, history, workers, len(spent), *_percentiles(spent), rate, len(found) - len(lived))


def first_claim(system: str, url: str, history: int) -> float:
    """Seconds of the first claim of a process that has read nothing yet."""
    database = Database.open(url)
    side = _SYSTEMS[system](database, f"cold-{system}-{history}-{time.monotonic_ns()}", history, queued=1)
    database.close()

    def claim(_: int) -> float:
        _forget_connections(database)
        began = time.perf_counter()
        side.warm()
        return time.perf_counter() - began

    seconds: float = _in_processes(1, claim)[0]
    return seconds


def claim_compute(url: str, order: str, count: int, rounds: int = 5) -> Compute:
    """The compute of a claim among so many trials that have shown their curves."""
    database = Database.open(url)
    name = f"{order}-{count}"
    study = queue_ours(database, name, count, rounds + 1)
    show_curves(database, name, study.folds.count if order == "trials" else 1)
    timed = Trials(database, study, WorkerIdentity(), TrialsSettings(by_folds=order == "folds"), NO_HEARTBEAT)
    timed.timer = ProtocolTimer(clock=time.process_time)
    seconds = []
    for _ in range(rounds + 1):
        before, believed = time.process_time(), timed.timer._spent["belief"]
        claim = timed.claim()
        seconds.append((time.process_time() - before, timed.timer._spent["belief"] - believed))
        assert claim is not None
        for index in range(EVALUATIONS):
            claim.report(0, 0.6, record_at(index, 0.6))
        if order == "trials" or not claim.put_aside(study.folds.count):
            claim.finish(0.6)
    database.close()
    least = min(seconds[1:])  # the first one reads all curves
    return Compute(order, count, *(1000 * each for each in least))


def reports(system: str, url: str, reporters: int, steps: int, processes: int = 10) -> Reports:
    """`reporters` trials in flight at once, in a few processes, report step by step."""
    database = Database.open(url)
    name = f"{system}-reports"
    side = _SYSTEMS[system](database, name, 0, queued=reporters + 1)
    side.warm()
    began, start = time.monotonic(), _FORK.Barrier(processes)
    found = _in_processes(processes, lambda _: _report(side, reporters // processes, steps, start))
    seconds = time.monotonic() - began
    trials = optuna.load_study(study_name=name, storage=database.storage).get_trials(deepcopy=False)
    stored = sum(len(trial.intermediate_values) for trial in trials)
    database.close()
    spent = np.array([each for times in found if times is not None for each in times]) * 1000
    return Reports(system, reporters // processes * processes, steps, stored, *_percentiles(spent), seconds)


def _claim_for(side: Any, seconds: float, start: Barrier) -> tuple[list[float], float]:
    side.join()
    try:
        # A forked process copies what it touches, which for ten thousand trials takes longer than the claim.
        if (claim := side.begin()) is not None:
            side.end(claim)
    finally:
        start.wait()  # the others do, whatever happened here
    times: list[float] = []
    began = time.perf_counter()
    while not times or time.perf_counter() - began < seconds:
        before = time.perf_counter()
        claim = side.begin()
        if claim is None:  # the queue is empty
            break
        times.append(time.perf_counter() - before)
        side.end(claim)
    return times, time.perf_counter() - began


def _report(side: Any, reporters: int, steps: int, start: Barrier) -> list[float]:
    side.join()
    claims = [side.begin() for _ in range(reporters)]
    start.wait()
    times: list[float] = []
    for step in range(steps):
        for claim in claims:
            before = time.perf_counter()
            side.report(claim, step)
            times.append(time.perf_counter() - before)
    for claim in claims:
        side.end(claim)
    return times


def _in_processes(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work` gives in each of so many processes; None where it raised."""
    pipes = [_FORK.Pipe(duplex=False) for _ in range(count)]
    processes = [_FORK.Process(target=_send, args=(work, i, pipes[i][1])) for i in range(count)]
    for process, (_, sender) in zip(processes, pipes, strict=True):
        process.start()
        sender.close()
    found = [receiver.recv() for receiver, _ in pipes]
    for process in processes:
        process.join()
    return found


def _send(work: Callable[[int], Any], index: int, sender: Connection) -> None:
    try:
        found = work(index)
    except Exception:  # a database that is locked, for Optuna on SQLite
        found = None
    sender.send(found)
    sender.close()


def _forget_connections(database: Database) -> None:
    """A forked process must not use its parent's connections, nor close them."""
    database.engine.dispose(close=False)
    storage: Any = database.storage
    storage._backend.engine.dispose(close=False)


def _percentiles(values: "np.ndarray[Any, Any]") -> tuple[float, float]:
    return (float(np.median(values)), float(np.percentile(values, 99))) if len(values) else (np.nan, np.nan)
