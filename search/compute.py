"""The compute that trials have spent, in fold-epochs: the one place that counts it.

A fold-epoch is one pass over the training part of one fold. A fold counts up to its last evaluation.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from foldrace.search.stored_knobs import decode
from foldrace.storage import tables
from foldrace.storage.optuna_rows import State
from foldrace.studies.study import Study

SECONDS = "seconds"  # the user attribute of a trial: those that workers held it whole, up to its last evaluation

_ATTRS = tables.trial_attrs.c
_TRIALS, _PARAMS, _REPORTS = tables.trials.c, tables.trial_params.c, tables.trial_intermediate_values.c


@dataclass(frozen=True)
class TrialCompute:
    """The compute of one trial.

    Attributes:
        epochs: of each of its folds.
        spent: fold-epochs so far.
    """

    trial_id: int
    number: int
    state: State
    epochs: float
    spent: float


@dataclass(frozen=True)
class FoldEpochs:
    """Fold-epochs of all trials of a study.

    Attributes:
        spent: by trials in any state.
        saved: what the pruned trials would have spent beyond that.
    """

    spent: float
    saved: float


def read_compute(connection: sa.Connection, study_id: int, study: Study) -> list[TrialCompute]:
    """The compute of each trial of a study, or of a final job, by number. Trials that wait have spent nothing."""
    per_fold = study.defaults.evaluations
    evaluations = _evaluations_by_trial(study_id, per_fold).subquery()
    has_epochs = sa.and_(_PARAMS.trial_id == _TRIALS.trial_id, _PARAMS.param_name == "epochs")
    query = (
        sa.select(
            _TRIALS.trial_id,
            _TRIALS.number,
            _TRIALS.state,
            _PARAMS.param_value,
            _PARAMS.distribution_json,
            evaluations.c.count,
        )
        .select_from(tables.trials)
        .outerjoin(tables.trial_params, has_epochs)
        .outerjoin(evaluations, evaluations.c.trial_id == _TRIALS.trial_id)
        .where(_TRIALS.study_id == study_id)
        .order_by(_TRIALS.number)
    )
    found = []
    for trial_id, number, state, stored, distribution, count in connection.execute(query):
        epochs = float(study.defaults.epochs if stored is None else decode(stored, distribution))
        found.append(TrialCompute(trial_id, number, state, epochs, int(count or 0) * epochs / per_fold))
    return found


def total_fold_epochs(trials: Iterable[TrialCompute], study: Study) -> FoldEpochs:
    """The fold-epochs of all trials of a study together."""
    spent = saved = 0.0
    for trial in trials:
        spent += trial.spent
        if trial.state == "PRUNED":
            saved += study.folds.count * trial.epochs - trial.spent
    return FoldEpochs(spent, saved)


def read_seconds(connection: sa.Connection, study_id: int) -> float:
    """The seconds that workers have held the trials of a study; what somebody else wrote in their place counts as 0."""
    query = sa.select(_ATTRS.value_json).join(tables.trials, _TRIALS.trial_id == _ATTRS.trial_id)
    is_seconds = sa.or_(_ATTRS.key == SECONDS, _ATTRS.key.like("fold%/seconds"))
    found = connection.execute(query.where(_TRIALS.study_id == study_id, is_seconds)).scalars()
    return sum(seconds_of(json.loads(text)) for text in found)


def seconds_key(fold: int) -> str:
    """The user attribute of a trial with the seconds that workers held a fold of it; WHOLE: all of it."""
    return SECONDS if fold == tables.WHOLE else f"fold{fold}/seconds"


def seconds_of(stored: object) -> float:
    """The seconds that are stored with a trial; 0 where there are none."""
    return float(stored) if isinstance(stored, int | float) and math.isfinite(stored) and stored > 0 else 0.0


def _evaluations_by_trial(study_id: int, per_fold: int) -> "sa.Select[int, int]":
    """The query for the evaluations that each trial has passed: in each fold up to its last report.

    They are not counted one by one, as a fold of few steps reports fewer.
    """
    fold = (_REPORTS.step // per_fold).label("fold")
    passed = (sa.func.max(_REPORTS.step) + 1 - fold * per_fold).label("passed")
    of_fold = sa.select(_REPORTS.trial_id, fold, passed).join(tables.trials, _TRIALS.trial_id == _REPORTS.trial_id)
    folds = of_fold.where(_TRIALS.study_id == study_id).group_by(_REPORTS.trial_id, fold).subquery()
    count = sa.func.sum(folds.c.passed).label("count")
    return sa.select(folds.c.trial_id, count).group_by(folds.c.trial_id)
