"""A claimed trial on its way through its folds: what it reports, whether it is pruned, and how it ends.

Nothing here trains. What is written goes through the claim, so it is refused once the trial is another worker's.
"""

import logging
import math
from collections.abc import Collection, Mapping, Sequence

from foldrace.search.race.learning_curves import EvaluationPoint, running_estimate
from foldrace.search.recording.recorder import Recorder
from foldrace.search.trials.assignment import Assignment
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.fold_files import drop_checkpoints
from foldrace.search.words import counted
from foldrace.storage.tables import FIRST, WHOLE
from foldrace.trainer.evaluation import EvaluationRecord

logger = logging.getLogger("foldrace.worker")


def bests_of(
    evaluations: Mapping[EvaluationPoint, EvaluationRecord], per_fold: int, without: Collection[int] = ()
) -> list[float]:
    """The best of each fold whose last evaluation is there, by fold."""
    ends = sorted(point for point in evaluations if point[1] == per_fold - 1 and point[0] not in without)
    return [evaluations[point].best for point in ends]


class TrialRun:
    """One attempt at a trial.

    Attributes:
        bests: the best of each fold that ended, first of those that were trained elsewhere, in the order of the folds.
    """

    def __init__(self, claim: Claim, assignment: Assignment, recorder: Recorder) -> None:
        self.claim, self.assignment = claim, assignment
        self.bests = bests_of(claim.evaluations, assignment.knobs.evaluations, without=assignment.folds)
        self._recorder = recorder

    def report(self, fold: int, evaluation: EvaluationRecord) -> None:
        """Store an evaluation of the running fold, and what the trial is worth by it. Raises LeaseLost."""
        share = (evaluation.index + 1) / self.assignment.knobs.evaluations
        self.claim.report(fold, running_estimate(self.bests, evaluation.best, share), evaluation)

    def report_missing(self, fold: int, curve: Sequence[EvaluationRecord]) -> None:
        """Report the evaluations that a fold's files hold and the database does not, as when it is a new one."""
        for evaluation in curve:
            if (fold, evaluation.index) not in self.claim.evaluations:
                self.report(fold, evaluation)

    def prune(self) -> bool:
        """Ask the pruner after a report, and end the trial if it says so; whether it did."""
        is_raced = self.claim.fold in (WHOLE, FIRST) and not self.assignment.is_final
        reason = self.claim.reason_to_prune() if is_raced else None
        if reason is None:
            return False
        self._end_pruned(reason)
        return True

    def end_aside(self) -> None:
        """End a trial that was put aside, as nothing is left to be trained."""
        self._end_pruned(f"put aside after {counted(len(self.bests) + 1, 'fold')}: others promised more")

    def _end_pruned(self, reason: str) -> None:
        self._recorder.record_end(self.claim, self.assignment, "PRUNED", reason=reason)
        is_stored = self.claim.prune(reason)
        if is_stored:
            self._drop_checkpoints()
        self._log_end(is_stored, f"pruned: {reason}")

    def finish(self) -> None:
        """End the trial with the mean of its folds, or put it aside while some are missing.

        All folds of the assignment must have ended.
        """
        if self.claim.fold != WHOLE:
            if self.claim.put_aside(self.assignment.plan.count):
                mean = sum(self.bests) / len(self.bests)
                logger.info(
                    "trial %d is put aside after %s: %.4f", self.claim.number, counted(len(self.bests), "fold"), mean
                )
                return
            self.bests = bests_of(self.claim.evaluations, self.assignment.knobs.evaluations)
        value = sum(self.bests) / len(self.bests)
        if not math.isfinite(value):
            self.fail(f"its value is {value}")
            return
        score = value if self.assignment.is_scored else None
        self._recorder.record_end(self.claim, self.assignment, "COMPLETE", value=score)
        self._log_end(self.claim.finish(value), f"complete: {'no score' if score is None else f'{score:.4f}'}")

    def fail(self, reason: str) -> None:
        """End the trial for good because of an error of its own."""
        self._recorder.record_end(self.claim, self.assignment, "FAIL", reason=reason)
        is_stored = self.claim.fail(reason)
        if is_stored:
            self._drop_checkpoints()
        self._log_end(is_stored, f"failed: {reason}")

    def _drop_checkpoints(self) -> None:
        """Delete the checkpoints of a trial that has ended, also of folds that other workers trained."""
        folds = self.assignment.folds if self.claim.fold == WHOLE else range(self.assignment.plan.count)
        for fold in folds:
            drop_checkpoints(self.assignment.folder(fold))

    def _log_end(self, is_stored: bool, end: str) -> None:
        number = self.claim.number
        if is_stored:
            logger.info("trial %d %s", number, end)
            return
        self._recorder.discard()
        logger.warning("trial %d: its end was refused, as another worker has it or ended it (%s)", number, end)
