"""Many simulated workers on one server of a workspace: they claim, report, beat and end, and train nothing.

Each has its own pool of connections and its own heartbeat, as a process would. What is done is counted in the database,
and the CPU seconds of the server are its own, so that they hold on a machine where the workers need some too. A beat
every 40 s, not 10, and few that start at once: a thousand machines have more than the cores of this one.
"""

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.trial import FrozenTrial

from benchmarks.databases import make_study, queue_ours
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.gp import Sample
from foldrace.search.trials.claims import Claim, Trials, TrialsSettings
from foldrace.search.trials.heartbeat import HeartbeatSettings
from foldrace.storage.database import Database
from foldrace.storage.leases.lease import LeaseLost
from foldrace.storage.server.lifecycle import start_server
from foldrace.storage.server.place import ServerPlace
from foldrace.storage.workers import WorkerIdentity
from tests.support.records import record_at
from tests.support.workspace_servers import open_workspace, postmaster

PHASES = {"starting": 1e9, "training": 1e9, "usual": 60.0, "hurried": 0.0, "over": 0.0}  # seconds between evaluations
EVALUATIONS, FOLDS, PROCESSES, AT_ONCE = 8, 5, 4, 2  # workers of each process that start at once
HEARTBEAT = HeartbeatSettings(seconds=40.0)
_NAMES = list(PHASES)
_QUEUED, _LOOK_SECONDS, _SLICE = 4_000, 0.2, 0.5
_FORK = multiprocessing.get_context("fork")
_COUNTS = {
    "claims": "SELECT count(*) FROM trials WHERE state <> 'WAITING'",
    "reports": "SELECT count(*) FROM trial_intermediate_values",
    "ends": "SELECT count(*) FROM foldrace_cells WHERE state = 'done'",
    "beats": "SELECT sum(counter) FROM foldrace_cells",
    "twice": "SELECT count(*) FROM foldrace_cells WHERE attempt > 1",
}
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'foldrace' AND pid <> pg_backend_pid()"


@dataclass(frozen=True)
class Load:
    """What so many workers did in a phase.

    In `training` they only beat, in `usual` each has an evaluation a minute, and `hurried` ones train no time at all.

    Attributes:
        claims, reports, ends, beats: a second.
        connections: at most, of `foldrace database`'s 200.
        server: CPU seconds of the server, a second.
        twice: folds that were begun twice by then.
    """

    workers: int
    phase: str
    seconds: float
    claims: float
    reports: float
    ends: float
    beats: float
    connections: int
    server: float
    twice: int


class _Drawn:
    """Draws in the middle, and believes nothing: a worker computes that on a machine of its own."""

    def sample(self, trial: FrozenTrial, space: SearchSpace) -> Sample:
        return Sample({knob: d.low for knob, d in space.items()})  # type: ignore[attr-defined]

    def believe(self, space: SearchSpace) -> None:
        return None


def loads(workers: int, seconds: float) -> Iterator[Load]:
    """What `workers` do in each phase, of so many seconds; at first, how long it takes until all are at work."""
    with open_workspace() as root:
        start_server(root)
        url = ServerPlace(root).url().render_as_string(hide_password=False)
        database = Database.open(url)
        queue_ours(database, "thousand", 0, _QUEUED)
        database.engine.dispose()
        phase = _FORK.Value("i", 0)
        processes = [
            _FORK.Process(target=_work, args=(url, phase, len(range(i, workers, PROCESSES)))) for i in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            watched = _Watched(connection, postmaster(root), workers)
            yield watched.phase("starting", lambda now: now["claims"] < workers)
            for index, name in enumerate(_NAMES[1:-1], start=1):
                phase.value = index
                end = time.monotonic() + seconds
                yield watched.phase(name, lambda _, end=end: time.monotonic() < end)
            phase.value = len(PHASES) - 1
            for process in processes:
                process.join()
        database.close()


class _Watched:
    """Counts what is done, and looks at the connections and the server meanwhile."""

    def __init__(self, connection: sa.Connection, server: int, workers: int) -> None:
        self._connection, self._server, self._workers = connection, server, workers

    def phase(self, name: str, goes_on: Any) -> Load:
        """What is done while it goes on."""
        began, before, cpu, most = time.monotonic(), self._count(), _cpu_seconds(self._server), 0
        while goes_on(before if name != "starting" else self._count()):
            most = max(most, self._connection.execute(sa.text(_CONNECTIONS)).scalar_one())
            time.sleep(_LOOK_SECONDS)
        lived, now = time.monotonic() - began, self._count()
        rates = {key: (now[key] - before[key]) / lived for key in ("claims", "reports", "ends", "beats")}
        server = (_cpu_seconds(self._server) - cpu) / lived
        return Load(self._workers, name, lived, **rates, connections=most, server=server, twice=now["twice"])

    def _count(self) -> dict[str, int]:
        return {key: int(self._connection.execute(sa.text(text)).scalar() or 0) for key, text in _COUNTS.items()}


def _work(url: str, phase: "Synchronized[int]", workers: int) -> None:
    """Be so many workers, each a thread, until the phase `over`."""
    starts = threading.Semaphore(AT_ONCE)
    threads = [threading.Thread(target=_worker, args=(url, phase, starts)) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _worker(url: str, phase: "Synchronized[int]", starts: threading.Semaphore) -> None:
    with starts:
        database, study = Database.open(url, 600, create=False), make_study("thousand", 1, 3 * HEARTBEAT.seconds)
        trials: Any = Trials(database, study, WorkerIdentity(), TrialsSettings(by_folds=True), HEARTBEAT)
        trials._sampler = trials._allotment._sampler = _Drawn()
        claim = trials.claim()
    while claim is not None:
        with suppress(LeaseLost), claim:
            _live(claim, phase)
        claim = trials.claim() if _is_at_work(phase) else None
    database.close()


def _live(claim: Claim, phase: "Synchronized[int]") -> None:
    for index in range(EVALUATIONS):
        claim.rest()
        if not _train(phase):
            claim.release()
            return
        claim.report(claim.fold, 0.5, record_at(index, 0.5))
    claim.put_aside(FOLDS)


def _is_at_work(phase: "Synchronized[int]") -> bool:
    return _NAMES[phase.value] != "over"


def _train(phase: "Synchronized[int]") -> bool:
    """Wait for as long as the phase says on average between two evaluations; False when it is over."""
    while random.random() * PHASES[_NAMES[phase.value]] > _SLICE:
        time.sleep(_SLICE)
    return _is_at_work(phase)


def _cpu_seconds(postmaster: int) -> float:
    """CPU seconds of a server's processes, also of those that have ended."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    ticks = sum(_ticks(int(pid), slice(11, 13)) for pid in children) + _ticks(postmaster, slice(11, 15))
    return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int, fields: slice) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it ended just now, and counts as the postmaster's from here on
        return 0
    return sum(int(field) for field in text.rpartition(")")[2].split()[fields])
