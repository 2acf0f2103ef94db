"""One worker's life: claim a trial, train its folds, report and judge each evaluation, go on to the next.

A worker lets go of its trial at the next `Progress` when it is asked to stop or its time is up, and drops it when the
trial is no longer its own. It never decides what is run: that is the claim's and the study's to say.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from foldrace.errors import FoldraceError
from foldrace.search.race.learning_curves import running_estimate
from foldrace.search.recording.recorder import Recorder
from foldrace.search.trials.assignment import Assignment
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import Trials
from foldrace.storage.errors import OutageError
from foldrace.storage.leases import LeaseLost
from foldrace.storage.workspace import attempts_in
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.results import ResultError, SavedResult, is_complete, load_result, save_model, save_result
from foldrace.trainer.training.checkpoint import Checkpoint, CheckpointError, list_checkpoints, load_checkpoint
from foldrace.trainer.training.loop import NonFiniteLossError, NoRoomError, OutOfMemoryError, train_fold
from foldrace.trainer.training.tasks import FoldResult, FoldTask, Progress
from foldrace.trainer.training_data import TrainingData

IDLE_SECONDS = 2.0  # between two looks for a trial to adopt, when every one has an owner

logger = logging.getLogger("foldrace.worker")


@dataclass(frozen=True)
class Worker:
    """Runs the trials of one study, or the folds of one final job, on one device.

    Attributes:
        assign: what a claim asks for.
        seconds_left: until the worker must let go; infinite when it has no limit.
        stopping: True once a signal asked the worker to stop.
        enough: why no trial that waits should be begun; empty while one should.
        recorder: is told of each trial before it ends.
    """

    trials: Trials
    data: TrainingData
    assign: Callable[[Claim], Assignment]
    device: str
    seconds_left: Callable[[], float]
    stopping: Callable[[], bool]
    enough: Callable[[], str]
    recorder: Recorder

    def run(self) -> None:
        """Work until nothing is left to do, or until asked to stop."""
        while not self._must_stop():
            enough = self.enough()
            claim = self.trials.claim(only_adopt=bool(enough))
            if claim is not None:
                self._run_claim(claim)
                self.recorder.between_trials()
                continue
            if self.trials.is_over(only_adopt=bool(enough)):
                done = "nothing is left to do, or the study was stopped: then foldrace resume lets workers go on"
                logger.info("%s", enough or done)
                return
            time.sleep(IDLE_SECONDS)

    def _must_stop(self) -> bool:
        return self.stopping() or self.seconds_left() <= 0

    def _run_claim(self, claim: Claim) -> None:
        logger.info("trial %d, attempt %d: %s", claim.number, claim.attempt, claim.sampled)
        with claim:  # an error that nobody foresaw counts as an attempt, and ends this worker
            try:
                self._run_trial(claim, self.assign(claim))
            except LeaseLost:
                logger.warning("trial %d was taken over by another worker", claim.number)
            except OutageError:
                claim.desert()
                raise
            except (FoldraceError, NoRoomError):
                claim.release()  # not the trial's fault: it waits for more room, or until the user has mended it
                raise

    def _run_trial(self, claim: Claim, assignment: Assignment) -> None:
        try:
            self._run_folds(claim, assignment)
        except (NonFiniteLossError, OutOfMemoryError) as error:
            logger.warning("trial %d failed: %s", claim.number, error)
            self.recorder.ending(claim, assignment, "FAIL", reason=str(error))
            if claim.fail(str(error)):
                for fold in assignment.folds:
                    _drop_attempts(assignment.folder(fold))

    def _run_folds(self, claim: Claim, assignment: Assignment) -> None:
        bests: list[float] = []
        for fold in assignment.folds:
            best = self._run_fold(claim, assignment, fold, bests)
            if best is None:
                return
            bests.append(best)
        value = sum(bests) / len(bests)
        self.recorder.ending(claim, assignment, "COMPLETE", value=value)
        claim.finish(value)
        logger.info("trial %d complete: %.4f", claim.number, value)

    def _run_fold(self, claim: Claim, assignment: Assignment, fold: int, bests: list[float]) -> float | None:
        """The best evaluation of a fold; None when the trial ended, or was let go, before the fold did."""
        task = self.data.task(assignment.knobs, assignment.plan, fold, self.device, assignment.is_final)
        folder = assignment.folder(fold)
        result = _result(task, folder)
        if result is not None:
            self._catch_up(claim, assignment, fold, result.curve, bests)
            return result.best.best
        reported = _reported(claim, fold, task)
        if reported is not None:
            return reported
        clock = _Interval(self.data.study.search.checkpoint_minutes * 60)
        resume = _checkpoint(task, folder)
        if resume is not None:
            logger.info(
                "trial %d goes on in fold %d, at step %d of %d", claim.number, fold, resume.step, task.total_steps
            )
            curve = [EvaluationRecord.from_json(record) for record in resume.state["curve"]]
            self._catch_up(claim, assignment, fold, curve, bests)
        own = folder / f"attempt-{claim.attempt}"
        # Some may be of a database that is gone, or of a fold that failed: ours may begin before it.
        for path in list_checkpoints(own):
            if resume is None or path.name > resume.file_name:
                path.unlink(missing_ok=True)
        with closing(train_fold(task, resume)) as events:
            del resume  # as large as the model and its optimiser, and read at the first event
            for event in events:
                if isinstance(event, Progress):
                    if not self._goes_on(claim, fold, event, clock, folder):
                        return None
                elif isinstance(event, EvaluationRecord):
                    if not self._survives(claim, assignment, fold, event, bests):
                        return None
                else:
                    self._keep(event, task, folder, assignment)
                    return event.best.best
        raise RuntimeError(f"fold {fold} of trial {claim.number} ended without a result")

    def _goes_on(self, claim: Claim, fold: int, progress: Progress, clock: "_Interval", folder: Path) -> bool:
        """Show a sign of life, and save the fold where it is due; False when the trial is let go here."""
        claim.progress(fold=fold, epoch=progress.epoch, rows_per_second=progress.rows_per_second)
        if not claim.alive:
            raise LeaseLost(f"trial {claim.number}")
        leaving = self._must_stop() or claim.stop_requested
        if leaving or clock.has_passed():
            progress.snapshot().save(folder / f"attempt-{claim.attempt}")
            claim.note_checkpoint()
        if leaving:
            claim.release()
            logger.info("trial %d let go at fold %d, epoch %.1f", claim.number, fold, progress.epoch)
        return not leaving

    def _survives(
        self, claim: Claim, assignment: Assignment, fold: int, evaluation: EvaluationRecord, bests: list[float]
    ) -> bool:
        """Report an evaluation; False when the trial is pruned by it."""
        self._report(claim, assignment, fold, evaluation, bests)
        reason = None if assignment.is_final else claim.reason_to_prune()
        if reason is None:
            return True
        self.recorder.ending(claim, assignment, "PRUNED", reason=reason)
        if claim.prune(reason):
            _drop_attempts(assignment.folder(fold))
        logger.info("trial %d pruned: %s", claim.number, reason)
        return False

    def _catch_up(
        self, claim: Claim, assignment: Assignment, fold: int, curve: Sequence[EvaluationRecord], bests: list[float]
    ) -> None:
        """Report what the files of a fold know and the database does not, as when it is another one than before."""
        for evaluation in curve:
            if (fold, evaluation.index) not in claim.evaluations:
                self._report(claim, assignment, fold, evaluation, bests)

    def _report(
        self, claim: Claim, assignment: Assignment, fold: int, evaluation: EvaluationRecord, bests: list[float]
    ) -> None:
        share = (evaluation.index + 1) / assignment.knobs.evaluations
        claim.report(fold, running_estimate(bests, evaluation.best, share), evaluation)

    def _keep(self, result: FoldResult, task: FoldTask, folder: Path, assignment: Assignment) -> None:
        """Leave the fold's result, and drop the checkpoints that led to it."""
        if result.micro_batch < task.knobs.batch_size:
            logger.warning("%s: out of memory, so %d rows at a time went through the model", folder, result.micro_batch)
        if assignment.is_final:
            save_model(result, task, self.data, folder)
        save_result(result, task.hash(), folder)
        _drop_attempts(folder)


def _result(task: FoldTask, folder: Path) -> SavedResult | None:
    """What an earlier attempt left that finished the fold."""
    with suppress(ResultError):
        result = load_result(folder)
        return result if result.task == task.hash() and (task.test is None or is_complete(folder)) else None
    return None


def _reported(claim: Claim, fold: int, task: FoldTask) -> float | None:
    """The best of a fold of a search whose end was reported, where its files cannot be reached."""
    last = claim.evaluations.get((fold, task.knobs.evaluations - 1))
    return None if last is None or task.test is not None else last.best


def _checkpoint(task: FoldTask, folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint of any attempt at the fold; None: start it anew."""
    paths = [path for attempt in attempts_in(folder) for path in list_checkpoints(attempt)]
    for path in sorted(paths, key=lambda path: path.name, reverse=True):
        try:
            return load_checkpoint(path, task.hash())
        except CheckpointError as error:
            logger.warning("%s; going back to the one before it", error)
    return None


def _drop_attempts(folder: Path) -> None:
    """The checkpoints of a fold that has ended: nobody goes on from them."""
    for attempt in attempts_in(folder):
        rmtree(attempt, ignore_errors=True)


@dataclass
class _Interval:
    """Says whether `seconds` have passed since it last said so."""

    seconds: float

    def __post_init__(self) -> None:
        self._last = time.monotonic()

    def has_passed(self) -> bool:
        passed = time.monotonic() - self._last >= self.seconds
        if passed:
            self._last = time.monotonic()
        return passed
