"""A claimed trial: what it is to try, what it reports, how it ends.

Every write checks in its own transaction that the trial is still this worker's; nothing is written past that fence.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from foldrace.search.compute import seconds_key, seconds_of
from foldrace.search.race.judging import Judgement
from foldrace.search.race.learning_curves import read_evaluations
from foldrace.search.race.space import encode_params
from foldrace.search.sampler.gp import Sample
from foldrace.search.trials.held_lease import LeaseContext
from foldrace.search.trials.trial_ends import TrialEnds
from foldrace.storage import optuna_rows
from foldrace.storage.leases import lease as leases
from foldrace.storage.leases.lease import Lease
from foldrace.storage.tables import WHOLE
from foldrace.storage.workers import Activity
from foldrace.studies.knobs import Value
from foldrace.trainer.evaluation import EvaluationRecord


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


class Claim(TrialEnds):
    """One attempt at one trial. `finish`, `prune` or `fail` ends the trial; `Trials.claim` begins the attempt.

    Attributes:
        fold: the one it is for; WHOLE: all of them, in their order.
        is_over: the trial was put aside, and no fold of it will be trained: it is to be pruned.
        sampled: the value of each searched knob.
        user_attrs: the trial's attributes as they were when it was claimed; a final job has its `fold` and `seed` here.
        evaluations: all reported so far, by (fold, index), by this attempt and by those before it.
    """

    def __init__(self, context: ClaimContext, lease: Lease, trial: FrozenTrial) -> None:
        super().__init__(context.lease, lease, trial.number)
        self._context, self.fold, self.is_over = context, lease.fold, lease.is_over
        self.sampled: dict[str, Value] = dict(trial.params)
        self.user_attrs: dict[str, Any] = dict(trial.user_attrs)
        self.evaluations |= read_evaluations(trial.user_attrs)
        self._held_since = context.clock() - seconds_of(trial.user_attrs.get(seconds_key(lease.fold)))

    @property
    def trial(self) -> optuna.trial.Trial:
        """The trial as Optuna's object, for notes and artifacts (before it ends: afterwards they raise)."""
        with self._database.read_only():
            return self._database.retry(lambda: optuna.trial.Trial(self._context.study, self._lease.trial_id))

    def begin(self, space: Mapping[str, BaseDistribution], sample: Sample) -> None:
        """Store all values that were drawn for this trial at once, and begin it. Raises LeaseLost."""
        params, attrs = encode_params(space, sample.values), sample.attrs
        activity = Activity() if self.fold == WHOLE else Activity(self.fold, epoch=0.0)

        def work(connection: sa.Connection) -> None:
            optuna_rows.set_trial_params(connection, self._lease.trial_id, params)
            optuna_rows.set_trial_attrs(connection, self._lease.trial_id, attrs)
            leases.mark_held(connection, self._lease)
            self._leases.show(connection, self.number, activity)

        self._write(work)
        self.sampled |= sample.values

    def report(self, fold: int, running_estimate: float, record: EvaluationRecord) -> None:
        """Store one evaluation. Doing it again changes nothing: whoever computes it computes the same.

        Args:
            fold: from 0; Optuna's step is evaluations per fold * fold + the record's index.
            running_estimate: what stock pruners compare; `status` shows it, unless the record has no scores.

        Raises:
            LeaseLost: the trial is not ours any more; nothing was written.
        """
        cell, trial_id = (fold, record.index), self._lease.trial_id
        step, is_new = self._context.evaluations * fold + record.index, cell not in self.evaluations

        def work(connection: sa.Connection) -> None:
            seconds = self._context.clock() - self._held_since
            attrs = {optuna_rows.cell_key(*cell): record.to_json(), seconds_key(self.fold): seconds}
            optuna_rows.set_trial_attrs(connection, trial_id, attrs)
            optuna_rows.set_intermediate_value(connection, trial_id, step, float(running_estimate))
            if is_new:
                leases.mark_progress(connection, self._lease)

        with self._timer.timing("reports"):
            self._write(work)
        self._progressed = self._progressed or is_new
        self.evaluations[cell] = record
        accuracy = None if math.isnan(record.scores.accuracy) else float(running_estimate)
        self._activity = replace(self._activity, fold=fold, accuracy=accuracy)

    def rest(self) -> None:
        """Hold no connection while the trial trains: a server has fewer than there are workers."""
        self._database.disconnect()

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
                self.check()
        return judgement.reason
