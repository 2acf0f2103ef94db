"""Many workers on one queue, killed at random moments, ours and plain Optuna's: what was lost, repeated or left.

The workers write what they do to one file; that file and the database are asked afterwards.
"""

import multiprocessing
import random
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from benchmarks.databases import make_study
from benchmarks.lives import BUSY, HEARTBEAT, STUDY, Log, Plan, in_child, live_ours, live_plain, origin
from foldrace.search.study_store import open_study
from foldrace.storage.database import Database
from foldrace.storage.leases.lease import mark_orphaned
from foldrace.storage.workers import new_owner

SYSTEMS = ("ours", "plain")
_TICK, _JITTER, _BACKOFF = 0.02, 0.2, 1.0  # seconds
_WARM = 100  # events, before a disturbance begins
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """What came of a queue.

    Attributes:
        begun_twice: queued trials that began more than once without a kill in between.
        lost: queued trials that were never completed; completed_twice: those that were more than once.
        beyond: trials that were completed without having been asked for.
        failed, left: trials in the database that are FAIL, and RUNNING or WAITING, two lease times after the end.
        crashed: workers that ended with an error of their own.
        repeated: cells run again, per kill.
        told, untold: time from a kill until its trial begins again, in lease times, where the worker's supervisor
            told the database and where nobody did (its machine is gone): [median, longest]; empty: there was none.
        late: of all those, how many waited for more than two lease times.
        timed_out: the workers were ended before they were done; what is lost is then only not done.
    """

    system: str
    trials: int
    kills: int
    begun_twice: int
    lost: int
    completed_twice: int
    beyond: int
    failed: int
    left: int
    crashed: int
    repeated: float
    told: tuple[float, ...]
    untold: tuple[float, ...]
    late: int
    seconds: float
    timed_out: bool


def abuse(system: str, url: str, folder: Path, plan: Plan, disturb: Callable[[], None] | None = None) -> Outcome:
    """Queue the trials, run the workers, kill some of them, and count what is left in `folder` and at `url`.

    Args:
        disturb: done once, beside the workers, when they are well under way.
    """
    folder.mkdir()
    _queue(system, url, plan)
    began = time.monotonic()
    harness = _Harness(system, url, folder, plan)
    harness.run(disturb)
    seconds = time.monotonic() - began
    time.sleep(2 * plan.lease_seconds if harness.killed else 0)
    return _outcome(harness, _ended(system, url, plan), seconds)


def _queue(system: str, url: str, plan: Plan) -> None:
    database = Database.open(url)
    if system == "ours":
        open_study(database, make_study(STUDY, plan.trials, plan.lease_seconds))
    else:
        study = optuna.create_study(study_name=STUDY, storage=database.storage, direction="maximize")
        for _ in range(plan.trials):
            study.enqueue_trial({})
    database.close()


class _Harness:
    """Starts the workers again that end badly, and sees to it that many do."""

    def __init__(self, system: str, url: str, folder: Path, plan: Plan) -> None:
        self.system, self.url, self.folder, self.plan = system, url, folder, plan
        self.killed: dict[str, tuple[float, bool]] = {}  # by owner: when, and whether the database was told
        self.crashed, self.timed_out = 0, False
        self._live: dict[str, ForkProcess] = {}
        self._starts: list[float] = []  # when a worker is due that takes the place of one that crashed
        self._random = random.Random(plan.seed)
        self._seen, self._due = 0, plan.kill_every  # events
        (folder / Log.FILE).touch()

    def run(self, disturb: Callable[[], None] | None) -> None:
        disturbance = threading.Thread(target=disturb)
        for _ in range(self.plan.workers):
            self._start()
        end = time.monotonic() + self.plan.limit_seconds
        with (self.folder / Log.FILE).open("rb") as log:
            while self._live or self._starts:
                time.sleep(_TICK)
                self._look()
                self._seen += log.read().count(b"\n")
                if self._seen >= _WARM and disturbance.ident is None:
                    disturbance.start()
                if self._live and len(self.killed) < self.plan.kills and self._seen >= self._due:
                    self._kill()
                if time.monotonic() > end:
                    self._give_up()
        if disturbance.ident is not None:
            disturbance.join()

    def _start(self) -> None:
        owner, live = new_owner(), (live_ours if self.system == "ours" else live_plain)
        process = _FORK.Process(target=in_child, args=(live, self.url, Log(self.folder, owner), self.plan))
        process.start()
        self._live[owner] = process

    def _look(self) -> None:
        for owner, process in list(self._live.items()):
            if process.exitcode is None:
                continue
            del self._live[owner]
            if process.exitcode != 0:
                self.crashed += 1
                self._starts.append(time.monotonic() + _BACKOFF)
                self._tell(owner)
        while self._starts and self._starts[0] <= time.monotonic():
            self._starts.pop(0)
            self._start()

    def _kill(self) -> None:
        time.sleep(self._random.uniform(0, _JITTER))  # or it would always be just after an event
        self._due = self._seen + self._random.expovariate(1 / self.plan.kill_every)
        owner = self._random.choice(list(self._live))
        process = self._live.pop(owner)
        process.kill()
        told = len(self.killed) % 2 == 0
        self.killed[owner] = time.monotonic(), told
        process.join()
        if told:
            self._tell(owner)
        self._start()

    def _tell(self, owner: str) -> None:
        """What the supervisor of a worker does; Optuna has nothing that could be told."""
        if self.system == "ours":
            database = Database.open(self.url, wait_seconds=BUSY)
            mark_orphaned(database, owner, "killed", is_attempt=True)
            database.close()

    def _give_up(self) -> None:
        self.timed_out = True
        for process in self._live.values():
            process.kill()
            process.join()
        self._live.clear()
        self._starts.clear()


def _ended(system: str, url: str, plan: Plan) -> list[FrozenTrial]:
    """The trials; Optuna's stale ones get a last chance to be found."""
    storage: Any = (
        RDBStorage(url, heartbeat_interval=HEARTBEAT, grace_period=plan.lease_seconds) if system == "plain" else url
    )
    study = optuna.load_study(study_name=STUDY, storage=storage)
    if system == "plain":
        optuna.storages.fail_stale_trials(study)
    return study.get_trials(deepcopy=False)


def _outcome(harness: _Harness, trials: list[FrozenTrial], seconds: float) -> Outcome:
    plan, events = harness.plan, Log.events(harness.folder)
    states = Counter(trial.state.name for trial in trials)
    origins = Counter(origin(trial) for trial in trials if trial.state.name == "COMPLETE")
    queued = range(plan.trials)
    cells = Counter((event["trial"], event["cell"]) for event in events if event["kind"] == "cell")
    told, untold = _adoptions(harness.killed, events, plan.lease_seconds)
    return Outcome(
        system=harness.system,
        trials=plan.trials,
        kills=len(harness.killed),
        begun_twice=_begun_twice(events, harness.killed),
        lost=sum(origins[number] == 0 for number in queued),
        completed_twice=sum(count > 1 for count in origins.values()),
        beyond=sum(number not in queued for number in origins),
        failed=states["FAIL"],
        left=states["RUNNING"] + states["WAITING"],
        crashed=harness.crashed,
        repeated=(cells.total() - len(cells)) / max(1, len(harness.killed)),
        told=_summary(told),
        untold=_summary(untold),
        late=sum(wait > 2 for wait in told + untold),
        seconds=seconds,
        timed_out=harness.timed_out,
    )


def _begun_twice(events: list[dict[str, Any]], killed: dict[str, tuple[float, bool]]) -> int:
    """Trials that begin although the worker that began them before lives."""
    owners: dict[int, list[str]] = defaultdict(list)
    for event in events:
        if event["kind"] == "begin":
            owners[event["trial"]].append(event["owner"])
    return sum(any(owner not in killed for owner in begun[:-1]) for begun in owners.values())


def _adoptions(
    killed: dict[str, tuple[float, bool]], events: list[dict[str, Any]], lease_seconds: float
) -> tuple[list[float], list[float]]:
    """Time to the adoption of each kill in the middle of a trial, in lease times: where it was told, and where not."""
    last = {event["owner"]: event for event in events}
    told: list[float] = []
    untold: list[float] = []
    for owner, (at, was_told) in killed.items():
        held = last.get(owner)
        if held is None or held["kind"] == "refused":
            continue
        again = [e["at"] for e in events if e["trial"] == held["trial"] and e["kind"] == "begin" and e["at"] > at]
        if again:
            (told if was_told else untold).append((min(again) - at) / lease_seconds)
    return told, untold


def _summary(waits: list[float]) -> tuple[float, ...]:
    return (statistics.median(waits), max(waits)) if waits else ()
