"""How a claim ends its trial, or puts it aside while folds of it are missing."""

import math
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from foldrace.errors import hide_passwords
from foldrace.search.race.learning_curves import EvaluationPoint, read_evaluations
from foldrace.search.trials.held_lease import HeldLease, LeaseContext
from foldrace.storage import optuna_rows
from foldrace.storage.leases import lease as leases
from foldrace.storage.leases.lease import Lease, LeaseLost
from foldrace.trainer.evaluation import EvaluationRecord

ATTEMPTS = "attempts"  # a user attribute of a trial that ended, beside those of optuna_rows


class TrialEnds(HeldLease):
    """A lease whose holder ends the trial by `finish`, `prune` or `fail`, or only a fold of it by `put_aside`.

    Attributes:
        evaluations: all reported so far, by (fold, index), by this attempt and by others.
    """

    def __init__(self, context: LeaseContext, lease: Lease, number: int) -> None:
        super().__init__(context, lease, number)
        self.evaluations: dict[EvaluationPoint, EvaluationRecord] = {}

    def put_aside(self, folds: int) -> bool:
        """Give the trial back as its fold is done; False where all others are: then `finish` ends the trial.

        Args:
            folds: of the trial.

        Raises:
            LeaseLost: the fold is not ours any more, or its trial has ended.
        """
        is_aside, records = True, dict[str, Any]()

        def work(connection: sa.Connection) -> None:
            nonlocal is_aside, records
            is_aside = leases.finish_fold(connection, self._lease, folds)
            records = optuna_rows.read_cells(connection, self._lease.trial_id)

        with self._timer.timing("ends"):
            self._write(work)
        self.evaluations |= read_evaluations(records)
        if is_aside:
            self._give_up()
        return is_aside

    def finish(self, value: float) -> bool:
        """COMPLETE with the trial's value; a value that is not finite makes it FAIL.

        Returns:
            False when the trial was not ours any more, or had ended: then nothing was written. It is True when only
            the answer of the database was lost.
        """
        if not math.isfinite(value):
            return self.fail(f"its value is {value}")
        return self._end("COMPLETE", {}, value)

    def prune(self, reason: str) -> bool:
        """PRUNED with the value reported last, as Optuna does it; returns as `finish` does."""
        return self._end("PRUNED", {optuna_rows.REASON: reason})

    def fail(self, reason: str) -> bool:
        """FAIL, for good: nobody tries it again. Returns as `finish` does."""
        return self._end("FAIL", {optuna_rows.FAILURE: hide_passwords(reason)})

    def has_ended(self) -> bool:
        """Whether the trial has ended, by whomever."""
        state = self._database.read(lambda connection: optuna_rows.read_trial_state(connection, self._lease.trial_id))
        return state != "RUNNING"

    def _end(self, state: optuna_rows.State, attrs: Mapping[str, object], value: float | None = None) -> bool:
        trial_id = self._lease.trial_id

        def work(connection: sa.Connection) -> None:
            optuna_rows.set_trial_attrs(connection, trial_id, {**attrs, ATTEMPTS: self.attempt})
            last = optuna_rows.read_last_value(connection, trial_id) if state == "PRUNED" else value
            optuna_rows.end_trial(connection, trial_id, state, last)
            leases.delete(connection, self._lease)

        if not self.alive:
            return False
        try:
            with self._timer.timing("ends"):
                self._write(work)
                self._database.checkpoint()
        except LeaseLost:
            # The first try may have arrived, with its answer lost.
            return self._database.read(lambda c: _has_ended(c, trial_id, state, self.attempt))
        self._give_up()
        return True


def _has_ended(connection: sa.Connection, trial_id: int, state: optuna_rows.State, attempt: int) -> bool:
    """Whether this very attempt ended the trial with this state."""
    ended_by = optuna_rows.read_trial_attr(connection, trial_id, ATTEMPTS)
    return optuna_rows.read_trial_state(connection, trial_id) == state and ended_by == attempt
