"""Which trials of a study are ranked, and in which order: the one place that says which trial is the best.

Complete trials with a finite value are ranked, the highest value first. Of equal trials the lower number is first.
Nothing here imports optuna: `foldrace status` does without.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from foldrace.storage import tables
from foldrace.storage.leases.lease import DONE, read_folds

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_TRIALS, _VALUES = tables.trials.c, tables.trial_values.c

BY_HAND = "added by hand, without folds"  # what a complete trial is called that plain Optuna added


def is_ranked(trial: "FrozenTrial") -> bool:
    """Whether a trial is complete and has a finite value."""
    return trial.state.name == "COMPLETE" and trial.value is not None and math.isfinite(trial.value)


def rank_trials(trials: Iterable["FrozenTrial"]) -> list["FrozenTrial"]:
    """The ranked ones among some trials, the best first."""
    ranked = [(trial.value or 0.0, -trial.number, trial) for trial in trials if is_ranked(trial)]
    return [trial for _, _, trial in sorted(ranked, key=lambda one: one[:2], reverse=True)]


def best_trial(trials: Iterable["FrozenTrial"]) -> "FrozenTrial | None":
    """The best of some trials; None when none of them is ranked."""
    return next(iter(rank_trials(trials)), None)


def lead_trial(best: int | None, leader: int | None, *, by_hand: bool) -> int | None:
    """The number of the trial that `export` takes: the leader by all folds, those of a rescore too; None: no trial.

    It is the best one where that was added by hand, without folds: nobody knows how much of its value is luck.
    """
    return best if by_hand else leader


def aside_trials(connection: sa.Connection, study_id: int) -> list[int]:
    """The numbers of the trials that were put aside: of what they have shown, they may be the best."""
    aside = read_folds_aside(connection, study_id)
    query = sa.select(_TRIALS.number).where(_TRIALS.trial_id.in_(aside), _TRIALS.study_id == study_id)
    return list(connection.execute(query.order_by(_TRIALS.number)).scalars())


def read_folds_aside(connection: sa.Connection, study_id: int) -> dict[int, int]:
    """How many folds are done of each trial that was put aside, by trial id."""
    folds = read_folds(connection, study_id)
    return {trial_id: len(states) for trial_id, states in folds.items() if set(states.values()) == {DONE}}


def select_ranked(study_id: int) -> "sa.Select[int, float]":
    """The query for number and value of a study's ranked trials, the best first."""
    query = sa.select(_TRIALS.number, _VALUES.value).join(tables.trial_values, _VALUES.trial_id == _TRIALS.trial_id)
    query = query.where(_TRIALS.study_id == study_id, _TRIALS.state == "COMPLETE", _VALUES.value_type == "FINITE")
    return query.order_by(_VALUES.value.desc(), _TRIALS.number)
