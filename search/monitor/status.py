"""The status of a study: what its database says at one moment, and what follows from that.

Nothing here reads a database: `status_reader` does. Nothing here is for the eye: `view` is.
"""

from dataclasses import asdict, dataclass
from typing import Any

from foldrace.search.compute import FoldEpochs
from foldrace.search.prior_store import PriorStatus
from foldrace.search.race.termination import ExpectedGain
from foldrace.storage.optuna_rows import State
from foldrace.storage.workers import Control
from foldrace.studies.study import Study

ENDED: tuple[State, ...] = ("COMPLETE", "PRUNED", "FAIL")


@dataclass(frozen=True)
class BestTrial:
    """The best trial of a study."""

    number: int
    value: float


@dataclass(frozen=True)
class FailedTrial:
    """A trial that failed."""

    number: int
    reason: str


@dataclass(frozen=True)
class OrphanedTrial:
    """A trial without a worker: the next free one adopts it, once it knows that the lease is dead."""

    number: int
    attempt: int
    owner: str
    why: str


@dataclass(frozen=True)
class WorkerStatus:
    """One worker and its place in its trial; `silent_seconds`: since its last sign of life, by the database's clock."""

    owner: str
    host: str
    pid: int
    device: str
    number: int | None
    fold: int | None
    epoch: float | None
    accuracy: float | None
    rows_per_second: float | None
    stopped: bool
    silent_seconds: float


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """The status of a study, or of a final job.

    Attributes:
        study: as its workers run it.
        name: the study's, or that of a final job of it.
        control: what was asked of all workers.
        trials, evaluations: how many there are, by the state of the trial, as in {"COMPLETE": 12}.
        best: None until a trial is complete.
        first: the value of trial 0, which is the baseline of a study that has one; None until it is complete.
        seconds_each: the mean wall time of the trials that ended last; None until one has.
        failures: the last of them.
        epochs: of a fold, by the number of each running trial.
        priors: how the study uses each.
        expected_gain: of the trials that are still queued; None while too few are complete, and in a final job.
    """

    study: Study
    name: str
    control: Control
    trials: dict[State, int]
    evaluations: dict[State, int]
    best: BestTrial | None
    first: float | None
    seconds_each: float | None
    workers: tuple[WorkerStatus, ...]
    failures: tuple[FailedTrial, ...]
    orphans: tuple[OrphanedTrial, ...]
    fold_epochs: FoldEpochs
    epochs: dict[int, float]
    priors: tuple[PriorStatus, ...] = ()
    expected_gain: ExpectedGain | None

    @property
    def is_final(self) -> bool:
        """Whether it is a final job: each of its trials is a fold, and none is pruned."""
        return self.name != self.study.name

    @property
    def ended(self) -> int:
        """The number of trials that ended."""
        return sum(self.trials.get(state, 0) for state in ENDED)

    @property
    def total(self) -> int:
        """The number of all trials."""
        return sum(self.trials.values())

    @property
    def unfinished(self) -> int:
        """The number of trials that run or wait."""
        return self.total - self.ended

    @property
    def alive(self) -> list[WorkerStatus]:
        """The workers that gave a sign of life within the lease time."""
        lease = self.study.search.lease_seconds
        return [worker for worker in self.workers if not worker.stopped and worker.silent_seconds <= lease]

    @property
    def state(self) -> str:
        """`done`; what was asked of the workers (`paused`, `stopping`, `stopped`); `running`, or `no workers`."""
        if self.total and (self.ended == self.total or self._is_below_noise):
            return "done"
        if self.control == "stopping" and not self.alive:
            return "stopped"
        if self.control != "running":
            return self.control
        return "running" if self.alive else "no workers"

    @property
    def baseline(self) -> float | None:
        """The value of the baseline, where the study has one and it is complete."""
        return self.first if self.study.search.baseline else None

    @property
    def seconds_left(self) -> float | None:
        """About how long the workers need for the rest, at the pace of the trials that ended last; None: unknown."""
        workers = len(self.alive)
        trials = self.trials.get("WAITING", 0) + self.trials.get("RUNNING", 0) / 2
        return trials * self.seconds_each / workers if workers and trials and self.seconds_each is not None else None

    def __str__(self) -> str:
        """The status in lines, as `foldrace status` prints it."""
        from foldrace.search.monitor.view import status_lines

        return "\n".join(status_lines(self))

    def to_json(self) -> dict[str, Any]:
        """The status as plain data: what `foldrace status --json` prints."""
        return {
            "name": self.name,
            "control": self.control,
            "trials": self.trials,
            "evaluations": self.evaluations,
            "best": None if self.best is None else asdict(self.best),
            "first": self.first,
            "seconds_each": self.seconds_each,
            "workers": [asdict(worker) for worker in self.workers],
            "failures": [asdict(failure) for failure in self.failures],
            "orphans": [asdict(orphan) for orphan in self.orphans],
            "metric": self.study.search.metric,
            "fold_epochs": asdict(self.fold_epochs),
            "state": self.state,
            "baseline": self.baseline,
            "seconds_left": self.seconds_left,
            "ahead": None if self.expected_gain is None else asdict(self.expected_gain),
            "priors": [asdict(prior) for prior in self.priors],
        }

    @property
    def _is_below_noise(self) -> bool:
        """Whether the study ends itself here: nothing runs, and it asked to stop below the noise."""
        asked = self.study.search.stop_below_noise and not self.trials.get("RUNNING", 0)
        return asked and self.expected_gain is not None and self.expected_gain.is_below_noise
