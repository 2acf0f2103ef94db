"""A claimed trial: what it is to try, what it reports, how it ends.

Every write checks in its own transaction that the trial is still this worker's; nothing is written past that fence.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.trial import FrozenTrial

from foldrace.search.compute import SECONDS, seconds_of
from foldrace.search.race.judging import Judgement
from foldrace.search.race.learning_curves import read_evaluations
from foldrace.search.race.space import SearchSpace, encode_params
from foldrace.search.sampler.gp import Sample
from foldrace.search.trials.held_lease import HeldLease, LeaseContext
from foldrace.storage import leases, optuna_rows
from foldrace.storage.leases import Lease, LeaseLost
from foldrace.studies.knobs import Value
from foldrace.trainer.evaluation import EvaluationRecord

ATTEMPTS = "attempts"  # a user attribute of a trial that ended, beside those of optuna_rows


@dataclass(frozen=True)
class ClaimContext:
    """What all claims of one worker share.

    Attributes:
        study: as Optuna's object.
        evaluations: of each fold.
        judge: asks the study's pruner about the trial with this id.
        clock: seconds, monotonic.
    """

    lease: LeaseContext
    study: optuna.Study
    evaluations: int
    judge: Callable[[int], Judgement]
    clock: Callable[[], float]


class Claim(HeldLease):
    """One attempt at one trial. `finish`, `prune` or `fail` ends the trial; `Trials.claim` begins the attempt.

    Attributes:
        sampled: the value of each searched knob.
        user_attrs: the trial's attributes as they were when it was claimed; a final job has its `fold` and `seed` here.
        evaluations: all reported so far, by (fold, index), by this attempt and by those before it.
    """

    def __init__(self, context: ClaimContext, lease: Lease, trial: FrozenTrial) -> None:
        super().__init__(context.lease, lease, trial.number)
        self._context = context
        self.sampled: dict[str, Value] = dict(trial.params)
        self.user_attrs: dict[str, Any] = dict(trial.user_attrs)
        self.evaluations = read_evaluations(trial.user_attrs)
        self._held_since = context.clock() - seconds_of(trial.user_attrs.get(SECONDS))

    @property
    def trial(self) -> optuna.trial.Trial:
        """The trial as Optuna's object, for notes and artifacts (before it ends: afterwards they raise)."""
        with self._database.read_only():
            return self._database.retry(lambda: optuna.trial.Trial(self._context.study, self._lease.trial_id))

    def begin(self, space: SearchSpace, sample: Sample) -> None:
        """Store all values that were drawn for this trial at once, and begin it. Raises LeaseLost."""
        params, attrs = encode_params(space, sample.values), sample.attrs

        def work(connection: sa.Connection) -> None:
            optuna_rows.set_trial_params(connection, self._lease.trial_id, params)
            optuna_rows.set_trial_attrs(connection, self._lease.trial_id, attrs)
            leases.mark_held(connection, self._lease)

        self._write(work)
        self.sampled |= sample.values

    def report(self, fold: int, running_estimate: float, record: EvaluationRecord) -> None:
        """Store one evaluation. Doing it again changes nothing: whoever computes it computes the same.

        Args:
            fold: from 0; Optuna's step is evaluations per fold * fold + the record's index.
            running_estimate: what stock pruners compare.

        Raises:
            LeaseLost: the trial is not ours any more; nothing was written.
        """
        cell, trial_id = (fold, record.index), self._lease.trial_id
        step, is_new = self._context.evaluations * fold + record.index, cell not in self.evaluations

        def work(connection: sa.Connection) -> None:
            seconds = self._context.clock() - self._held_since
            attrs = {optuna_rows.cell_key(*cell): record.to_json(), SECONDS: seconds}
            optuna_rows.set_trial_attrs(connection, trial_id, attrs)
            optuna_rows.set_intermediate_value(connection, trial_id, step, float(running_estimate))
            if is_new:
                leases.mark_progress(connection, self._lease)

        with self._timer.timing("reports"):
            self._write(work)
        self._progressed = self._progressed or is_new
        self.evaluations[cell] = record
        self._activity = replace(self._activity, fold=fold, accuracy=float(running_estimate))

    def set_attr(self, key: str, value: object) -> None:
        """Store a user attribute of the trial. Raises LeaseLost."""
        self._write(lambda connection: optuna_rows.set_trial_attrs(connection, self._lease.trial_id, {key: value}))

    def reason_to_prune(self) -> str | None:
        """Why the study's pruner stops the trial after the reports so far; None: it goes on.

        Raises:
            LeaseLost: the trial is not ours any more; nothing was written.
        """
        trial_id = self._lease.trial_id
        with self._timer.timing("judging"):
            judgement = self._context.judge(trial_id)
            if attrs := judgement.system_attrs:
                self._write(lambda connection: optuna_rows.set_trial_system_attrs(connection, trial_id, attrs))
            else:
                self._check()
        return judgement.reason

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
        return self._end("FAIL", {optuna_rows.FAILURE: reason})

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
