"""A claimed trial on its way through its folds: what it reports, whether it is pruned, and how it ends.

Nothing here trains. What is written goes through the claim, so it is refused once the trial is another worker's.
"""

import logging
from collections.abc import Sequence

from foldrace.search.race.learning_curves import running_estimate
from foldrace.search.recording.recorder import Recorder
from foldrace.search.trials.assignment import Assignment
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.fold_files import drop_checkpoints
from foldrace.trainer.evaluation import EvaluationRecord

logger = logging.getLogger("foldrace.worker")


class TrialRun:
    """One attempt at a trial.

    Attributes:
        bests: the best of each fold that ended, in the order of the folds.
    """

    def __init__(self, claim: Claim, assignment: Assignment, recorder: Recorder) -> None:
        self.claim, self.assignment = claim, assignment
        self.bests: list[float] = []
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

    def prune(self, fold: int) -> bool:
        """Ask the pruner after a report of this fold, and end the trial if it says so; whether it did."""
        reason = None if self.assignment.is_final else self.claim.reason_to_prune()
        if reason is None:
            return False
        self._recorder.ending(self.claim, self.assignment, "PRUNED", reason=reason)
        if self.claim.prune(reason):
            drop_checkpoints(self.assignment.folder(fold))
        logger.info("trial %d pruned: %s", self.claim.number, reason)
        return True

    def finish(self) -> None:
        """End the trial with the mean of its folds. All of them must have ended."""
        value = sum(self.bests) / len(self.bests)
        self._recorder.ending(self.claim, self.assignment, "COMPLETE", value=value)
        self.claim.finish(value)
        logger.info("trial %d complete: %.4f", self.claim.number, value)

    def fail(self, error: Exception) -> None:
        """End the trial for good because of an error of its own."""
        logger.warning("trial %d failed: %s", self.claim.number, error)
        self._recorder.ending(self.claim, self.assignment, "FAIL", reason=str(error))
        if self.claim.fail(str(error)):
            for fold in self.assignment.folds:
                drop_checkpoints(self.assignment.folder(fold))
