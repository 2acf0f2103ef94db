"""One fold of a trial: trained from where its files stand, each evaluation reported and judged, checkpoints saved."""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from foldrace.search.ending import SearchEnd
from foldrace.search.trials.fold_files import FoldFiles, drop_checkpoints
from foldrace.search.workers.trial_run import TrialRun
from foldrace.storage.errors import StorageError
from foldrace.storage.leases.lease import LeaseLost
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.training.checkpoint import Checkpoint
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.state import stored_curve
from foldrace.trainer.training.tasks import FoldResult, Progress
from foldrace.trainer.training_data import TrainingData

logger = logging.getLogger("foldrace.worker")


@dataclass(frozen=True)
class WorkerSetup:
    """What every fold of a worker is trained with.

    Attributes:
        device: `cpu` or `cuda`.
        checkpoint_seconds: between two checkpoints of a fold, at least.
        should_stop: whether the worker is asked to save its trial, release it, and end.
        find_end: why the search ends; None while it goes on. It is asked after each evaluation.
    """

    data: TrainingData
    device: str
    checkpoint_seconds: float
    should_stop: Callable[[], bool]
    find_end: Callable[[], SearchEnd | None]


class FoldRun:
    """One fold of one attempt at a trial."""

    def __init__(self, setup: WorkerSetup, trial: TrialRun, fold: int) -> None:
        knobs, plan, is_final = trial.assignment.knobs, trial.assignment.plan, trial.assignment.is_final
        self._task = setup.data.task(knobs, plan, fold, setup.device, is_final)
        self._files = FoldFiles(trial.assignment.folder(fold), self._task, trial.claim.attempt)
        self._setup, self._trial, self._fold = setup, trial, fold
        self._checkpoint_is_due = Interval(setup.checkpoint_seconds)
        self._is_let_go = False

    def run(self) -> bool:
        """Bring the fold to its end; False when the trial was pruned, or released, before that.

        Raises:
            LeaseLost: the fold is another worker's, or its trial has ended.
            NonFiniteLossError, OutOfMemoryError: the trial fails.
            NoRoomError: the device has no room for the model.
        """
        try:
            best = self._known_best()
            if best is None:
                best = self._train()
        except LeaseLost:
            self._drop_unneeded()
            raise
        if best is None:
            return False
        self._trial.bests.append(best)
        return True

    def _known_best(self) -> float | None:
        """The best of the fold where an earlier attempt finished it; else None."""
        result = self._files.result()
        if result is not None:
            self._trial.report_missing(self._fold, result.curve)
            self._drop_checkpoints()  # the attempt that saved it may have ended before it did
            return result.best.best
        # The end of a fold of a search may be reported while its files cannot be reached.
        last = self._trial.claim.evaluations.get((self._fold, self._task.knobs.evaluations - 1))
        return None if last is None or self._task.test is not None else last.best

    def _train(self) -> float | None:
        with closing(train_fold(self._task, self._resumed())) as events:
            for event in events:
                if isinstance(event, Progress):
                    if not self._goes_on(event):
                        return None
                elif isinstance(event, EvaluationRecord):
                    self._trial.report(self._fold, event)
                    if self._trial.prune():
                        return None
                    end = self._setup.find_end()
                    self._is_let_go = end is not None and end.lets_go
                else:
                    self._save(event)
                    return event.best.best
                self._trial.claim.rest()
        raise RuntimeError(f"fold {self._fold} of trial {self._trial.claim.number} ended without a result")

    def _resumed(self) -> Checkpoint | None:
        """The checkpoint to go on from. It is as large as the model and its optimiser, so nobody else keeps it."""
        checkpoint = self._files.newest_checkpoint()
        if checkpoint is not None:
            number, total = self._trial.claim.number, self._task.total_steps
            logger.info("trial %d goes on in fold %d, at step %d of %d", number, self._fold, checkpoint.step, total)
            self._trial.report_missing(self._fold, stored_curve(checkpoint))
        self._files.drop_later_than(checkpoint)
        return checkpoint

    def _goes_on(self, progress: Progress) -> bool:
        """Give a sign of life, and save the fold where it is due; False when the trial is released here."""
        claim = self._trial.claim
        claim.progress(fold=self._fold, epoch=progress.epoch, rows_per_second=progress.rows_per_second)
        if not claim.alive:
            raise LeaseLost(f"trial {claim.number}")
        is_leaving = self._setup.should_stop() or claim.release_requested or self._is_let_go
        if is_leaving or self._checkpoint_is_due():
            self._write(lambda: self._files.save_checkpoint(progress.snapshot()))
            claim.note_checkpoint()
        if is_leaving:
            if claim.release():
                saved = "trial %d is saved in fold %d, epoch %.1f, for the next worker"
                logger.info(saved, claim.number, self._fold, progress.epoch)
            else:
                self._drop_unneeded()
        return not is_leaving

    def _save(self, result: FoldResult) -> None:
        if result.cost.micro_batch < self._task.knobs.batch_size:
            message = "%s: out of memory, so %d rows at a time went through the model"
            logger.warning(message, self._files.folder, result.cost.micro_batch)
        self._write(lambda: self._files.save_result(result, self._setup.data))
        self._drop_checkpoints()

    def _drop_checkpoints(self) -> None:
        """Delete those of a fold that is done. Raises LeaseLost where they may be another worker's."""
        self._trial.claim.check()
        drop_checkpoints(self._files.folder)

    def _drop_unneeded(self) -> None:
        """Once the fold is lost: delete the checkpoints of this attempt, unless another one may resume from them."""
        if self._trial.claim.has_ended() or self._files.result() is not None:
            self._files.drop_own()

    def _write(self, write: Callable[[], None]) -> None:
        """Write files of the fold. LeaseLost, where that fails as another worker ended the trial and deleted them."""
        try:
            write()
        except (StorageError, OSError):
            self._trial.claim.check()
            raise


class Interval:
    """True when it is called `seconds` or more after it was last true, or made."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._last = clock()

    def __call__(self) -> bool:
        now = self._clock()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True
