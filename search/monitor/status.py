"""The status of a study: what its database says at one moment, and what follows from that.

Nothing here reads a database: `status_reader` does. Nothing here is for the eye: `view` is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from foldrace.search.compute import FoldEpochs
from foldrace.search.ending import SearchEnd, Usage, has_converged
from foldrace.search.prior_store import PriorStatus
from foldrace.storage.optuna_rows import ENDED, State
from foldrace.storage.workers import Control, job_of
from foldrace.studies.knobs import Value
from foldrace.studies.study import Study

if TYPE_CHECKING:
    from foldrace.search.assessment.assessment import Assessment


@dataclass(frozen=True)
class BestTrial:
    """The best trial of a study.

    Attributes:
        knobs: the value of each that is searched.
        by_hand: plain Optuna added it, without the evaluations of its folds.
    """

    number: int
    value: float
    knobs: dict[str, Value]
    by_hand: bool = False


@dataclass(frozen=True)
class FinalStatus:
    """A final job of a study, or its rescore.

    Attributes:
        name: in the database, as demo/final-1.
        ended: folds that are trained, or failed for good.
        mean: of the folds' best evaluations, by the study's metric; None until one is trained, and without a score.
        is_scored: False of models that are trained on all rows.
    """

    name: str
    folds: int
    ended: int
    failed: int
    mean: float | None
    is_scored: bool = True

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        if not self.is_scored:
            return f"{self.name}: {self.ended} of {self.folds} models done{failed}, trained on all rows: no score"
        mean = "" if self.mean is None else f", mean {self.mean:.4f}"
        return f"{self.name}: {self.ended} of {self.folds} folds done{failed}{mean}"


@dataclass(frozen=True)
class FailedTrial:
    """A trial that failed."""

    number: int
    reason: str


@dataclass(frozen=True)
class OrphanedTrial:
    """A trial, or a fold of it, without a worker: the next free one adopts it, once it knows that the lease is dead."""

    number: int
    fold: int | None
    attempt: int
    owner: str
    why: str


@dataclass(frozen=True)
class WorkerStatus:
    """One worker and its place in its trial.

    Attributes:
        accuracy: the running estimate of the trial's value, by the metric of the study; the column is older than those.
        silent_seconds: since its last sign of life, by the database's clock.
    """

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

    @property
    def job(self) -> str:
        """The task of Slurm that it is; empty where it is none."""
        return job_of(self.owner)


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
        seconds_each: that workers have held a trial on average, or the median of those that ended last; None: unknown.
        finals: the final jobs of the study.
        rescores: its rescore, where there is one.
        failures: the last of them.
        aside: how many folds are done of each trial that was put aside, by its number.
        finals_left: folds that the finalists may still get once no trial waits; 0 where trials run to their ends.
        epochs: of a fold, by the number of each running trial.
        priors: how the study uses each.
        usage: of the budgets; None in a final job.
        end: why the search begins no trial more; None while it goes on, and in a final job.
        edited: what the study file has otherwise than the run; empty where nothing differs, and where nobody asked.
        queued: the tasks of Slurm that still wait, in words; empty where nobody asked.
        assessment: how good the leader is; None while too little is known, in a final job, and where nobody asked.
    """

    study: Study
    name: str
    control: Control
    trials: dict[State, int]
    evaluations: dict[State, int]
    best: BestTrial | None
    first: float | None
    seconds_each: float | None
    finals: tuple[FinalStatus, ...]
    workers: tuple[WorkerStatus, ...]
    failures: tuple[FailedTrial, ...]
    orphans: tuple[OrphanedTrial, ...]
    fold_epochs: FoldEpochs
    epochs: dict[int, float]
    aside: Mapping[int, int] = field(default_factory=dict)
    finals_left: int = 0
    priors: tuple[PriorStatus, ...] = ()
    usage: Usage | None = None
    end: SearchEnd | None = None
    rescores: tuple[FinalStatus, ...] = ()
    edited: str = ""
    queued: tuple[str, ...] = ()
    assessment: "Assessment | None" = None

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
        """`done`; what was asked (`pausing`, `paused`, `stopping`, `stopped`); `running`, or `no workers`."""
        if self.total and (self.ended == self.total or self._has_ended_early):
            return "done"
        if self.control == "stopping" and not self.alive:
            return "stopped"
        if self.control == "pausing" and all(worker.number is None for worker in self.alive):
            return "paused"
        if self.control != "running":
            return self.control
        return "running" if self.alive else "no workers"

    @property
    def baseline(self) -> float | None:
        """The value of the baseline, where the study has one and it is complete."""
        return self.first if self.study.search.baseline else None

    @property
    def has_converged(self) -> bool:
        """Whether further trials can be expected to gain little, whatever the study makes of that."""
        return self.usage is not None and has_converged(self.usage.outlooks, self.study.search.min_gain)

    @property
    def seconds_left(self) -> float | None:
        """About how long the workers need for the rest, at the pace of the trials so far; None: unknown."""
        return _seconds_left(self)

    def __str__(self) -> str:
        """The status in lines, as `foldrace status` prints it."""
        from foldrace.search.monitor.lines import status_lines

        return "\n".join(status_lines(self))

    def to_json(self) -> dict[str, Any]:
        """The status as plain data, as `foldrace status --json` prints it."""
        from foldrace.search.monitor.lines import status_json

        return status_json(self)

    @property
    def _has_ended_early(self) -> bool:
        """Whether the search has ended and nobody works on it any more."""
        at_work = [worker for worker in self.alive if worker.number is not None]
        return self.end is not None and not (at_work if self.end.lets_go else self.trials.get("RUNNING", 0))


def _seconds_left(status: StudyStatus) -> float | None:
    folds, workers = status.study.folds.count, len(status.alive)
    trials = status.trials.get("WAITING", 0) + (status.trials.get("RUNNING", 0) - len(status.aside)) / 2
    finals = min(status.finals_left, sum(folds - done for done in status.aside.values()))
    if not workers or not (trials or finals) or status.seconds_each is None:
        return None
    complete, pruned = status.trials.get("COMPLETE", 0), status.trials.get("PRUNED", 0)
    done = sum(status.aside.values()) + folds * complete + pruned
    of_fold = status.seconds_each * (len(status.aside) + complete + pruned) / max(done, 1)
    return (trials * status.seconds_each + finals * of_fold) / workers
