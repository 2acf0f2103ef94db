"""The life of one worker on a queue, ours and plain Optuna's with all that it has against death.

Plain Optuna has its heartbeat, its retry callback and the same checkpoints; its grace period is our lease time. Both
write what they do to one file.
"""

import json
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial

from benchmarks.databases import make_study, space_of
from foldrace.search.trials.claims import Claim, LeaseLost, Trials
from foldrace.search.trials.heartbeat import HeartbeatSettings
from foldrace.storage.database import Database
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workers import WorkerIdentity
from tests.support.records import record_at

HEARTBEAT = 1  # seconds
CHECKPOINT_EVERY = 4  # cells
BUSY = 120.0  # seconds that a worker waits for a database that is away when it starts
STUDY = "abuse"
_IDLE = 0.2  # seconds


@dataclass(frozen=True)
class Plan:
    """What is done to a queue.

    Attributes:
        cells: evaluations of a trial, each of `cell_seconds`.
        kill_every: the mean number of events, cells mostly, between two SIGKILLs: a busy machine changes nothing.
        limit_seconds: then the workers are ended, whatever is left to do.
    """

    workers: int
    trials: int
    kills: int = 0
    cells: int = 1
    cell_seconds: float = 0.0
    kill_every: float = 25.0
    limit_seconds: float = 90.0
    lease_seconds: int = 60
    seed: int = 7


class Log:
    """One line for each thing that a worker does; lines of many processes do not mix."""

    FILE = "events.jsonl"

    def __init__(self, folder: Path, owner: str) -> None:
        self.folder, self.owner = folder, owner

    def note(self, kind: str, trial: int, cell: int = 0) -> None:
        event = {"at": time.monotonic(), "owner": self.owner, "kind": kind, "trial": trial, "cell": cell}
        with (self.folder / self.FILE).open("ab", buffering=0) as file:
            file.write(json.dumps(event).encode() + b"\n")

    @classmethod
    def events(cls, folder: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / cls.FILE).read_text().splitlines()]


def in_child(live: Callable[[str, Log, Plan], None], url: str, log: Log, plan: Plan) -> None:
    """A worker's errors go to a file; nothing of the parent's is cleaned up here."""
    errors = os.open(log.folder / "errors.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    try:
        live(url, log, plan)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def live_ours(url: str, log: Log, plan: Plan) -> None:
    database = Database.open(url, wait_seconds=BUSY)
    study = make_study(STUDY, plan.trials, plan.lease_seconds)
    trials = Trials(database, study, WorkerIdentity(owner=log.owner), heartbeat=HeartbeatSettings(HEARTBEAT))
    while not trials.is_over():
        claim = trials.claim()
        if claim is None:
            time.sleep(_IDLE)
            continue
        with claim:
            _run_claim(claim, log, plan)


def _run_claim(claim: Claim, log: Log, plan: Plan) -> None:
    log.note("begin", claim.number)
    try:
        for cell in range(_checkpoint(log, claim.number), plan.cells):
            time.sleep(plan.cell_seconds)
            log.note("cell", claim.number, cell)
            claim.report(0, 0.5, record_at(cell, 0.5))
            if _save(log, claim.number, cell):
                claim.note_checkpoint()
        claim.finish(0.5)
    except LeaseLost:
        log.note("refused", claim.number)


def live_plain(url: str, log: Log, plan: Plan) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    retry = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
    storage = RDBStorage(
        url, heartbeat_interval=HEARTBEAT, grace_period=plan.lease_seconds, heartbeat_stale_trial_callback=retry
    )
    space = space_of(make_study(STUDY, plan.trials))

    def objective(trial: optuna.Trial) -> float:
        number = origin(storage.get_trial(trial._trial_id))
        log.note("begin", number)
        for name, distribution in space.items():
            _suggest(trial, name, distribution)
        for cell in range(_checkpoint(log, number), plan.cells):
            time.sleep(plan.cell_seconds)
            log.note("cell", number, cell)
            trial.report(0.5, cell)
            _save(log, number, cell)
        return 0.5

    study = optuna.load_study(study_name=STUDY, storage=storage)
    study.optimize(objective, callbacks=[MaxTrialsCallback(plan.trials)])


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> None:
    if isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high)
    elif isinstance(distribution, FloatDistribution):
        trial.suggest_float(name, distribution.low, distribution.high)


def origin(trial: FrozenTrial) -> int:
    """The queued trial that a trial is a clone of, or it itself. (Optuna's own function for it raises, as of 5.0.)"""
    return int(trial.system_attrs.get("failed_trial", trial.number))


def _checkpoint(log: Log, number: int) -> int:
    path = log.folder / f"{number}.checkpoint"
    return int(path.read_text()) if path.exists() else 0


def _save(log: Log, number: int, cell: int) -> bool:
    due = (cell + 1) % CHECKPOINT_EVERY == 0
    if due:
        atomic_write(log.folder / f"{number}.checkpoint", str(cell + 1))
    return due
