"""One worker's life: claim a trial, train its folds, go on to the next.

A worker releases its trial at the next `Progress` when it should stop, and drops it when it is no longer its own. It
never decides what is run: that is the claim's and the study's to say.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from foldrace.errors import FoldraceError
from foldrace.search.recording.recorder import Recorder
from foldrace.search.study_store import FOLD_ATTRS
from foldrace.search.trials.assignment import Assignment
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import Trials
from foldrace.search.words import knobs_text
from foldrace.search.workers.fold_run import FoldRun, WorkerSetup
from foldrace.search.workers.trial_run import TrialRun
from foldrace.storage.errors import OutageError, as_disk_error
from foldrace.storage.leases.lease import LeaseLost
from foldrace.storage.tables import WHOLE
from foldrace.trainer.training.tasks import NonFiniteLossError, NoRoomError, OutOfMemoryError

IDLE_SECONDS = 2.0  # between two looks for a trial to adopt, when every one has an owner

logger = logging.getLogger("foldrace.worker")


@dataclass(frozen=True)
class Worker:
    """Runs the trials of one study, or the folds of one final job, on one device.

    Attributes:
        assign: what a claim asks for.
        recorder: is told of each trial before it ends.
    """

    trials: Trials
    setup: WorkerSetup
    assign: Callable[[Claim], Assignment]
    recorder: Recorder

    def run(self) -> None:
        """Work until nothing is left to do, or until asked to stop."""
        while not self.setup.should_stop():
            end = self.setup.find_end()
            if end is not None and end.lets_go:
                logger.info("the search ends: %s", end.reason)
                return
            claim = self.trials.claim(only_adopt=end is not None)
            if claim is not None:
                self._run_claim(claim)
                self.recorder.flush()
            elif self.trials.is_over(only_adopt=end is not None):
                done = "this worker ends: no trial is left to run, or the study was stopped"
                logger.info("%s", done if end is None else f"the search ends: {end.reason}")
                return
            else:
                self.trials.rest()
                time.sleep(IDLE_SECONDS)

    def _run_claim(self, claim: Claim) -> None:
        fold = "" if claim.fold == WHOLE else f", fold {claim.fold}"
        of_job = [f"{name} {claim.user_attrs[name]}" for name in FOLD_ATTRS if name in claim.user_attrs]
        asked = ", ".join([*of_job, *([knobs_text(claim.sampled)] if claim.sampled else [])])
        logger.info("trial %d, attempt %d%s: %s", claim.number, claim.attempt, fold, asked)
        with claim:  # an error that nobody foresaw counts as an attempt, and ends this worker
            try:
                with as_disk_error():
                    self._run_trial(TrialRun(claim, self.assign(claim), self.recorder))
            except LeaseLost:
                logger.warning("trial %d was taken over by another worker, or has ended", claim.number)
                claim.release()  # this worker lives, so the attempt was no fault of the trial
            except OutageError:
                message = "trial %d could not be released, as the database does not answer; the attempt will not count"
                logger.warning(message, claim.number)
                raise
            except (FoldraceError, NoRoomError):
                claim.release()  # not the trial's fault: it waits for more room, or until the user has mended it
                raise

    def _run_trial(self, trial: TrialRun) -> None:
        if trial.claim.is_over:
            trial.end_aside()
            return
        try:
            for fold in trial.assignment.folds:
                if not FoldRun(self.setup, trial, fold).run():
                    return  # it pruned or released the trial
            trial.finish()
        except (NonFiniteLossError, OutOfMemoryError) as error:
            trial.fail(str(error))
