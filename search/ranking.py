"""Which trials of a study are ranked, and in which order: the one place that says which trial is the best.

Complete trials with a finite value are ranked, the highest value first. Of equal trials the lower number is first.
Nothing here imports optuna: `foldrace status` does without.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from foldrace.storage import tables

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


def lead_trial(ranked: Sequence[int], leaders: Sequence[int]) -> int | None:
    """The number of the trial to export: the first leader by all folds, those of a rescore too; None: there is none.

    Without a rescore it is the best one. So it is with one where the best was added by hand, without folds: nobody
    knows how much of its value is luck.

    Args:
        ranked: numbers of ranked trials, the best first.
        leaders: those of them that have folds, by what is believed of their levels.
    """
    best = next(iter(ranked), None)
    return next(iter(leaders), None) if best in leaders else best


def select_ranked(study_id: int) -> "sa.Select[int, float]":
    """The query for number and value of a study's ranked trials, the best first."""
    query = sa.select(_TRIALS.number, _VALUES.value).join(tables.trial_values, _VALUES.trial_id == _TRIALS.trial_id)
    query = query.where(_TRIALS.study_id == study_id, _TRIALS.state == "COMPLETE", _VALUES.value_type == "FINITE")
    return query.order_by(_VALUES.value.desc(), _TRIALS.number)
