"""Scores of invented trials, as folds of a search and of a rescore leave them."""

import math
from collections.abc import Sequence

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from foldrace.search.assessment.assess import StudyScores
from foldrace.search.assessment.process import StudyProcess
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.trends import NO_PRIORS, Priors

EVALUATIONS = 3
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


def scored_trial(number: int, ends: Sequence[float], rows: int = 0) -> LearningCurves:
    """A trial by the end of each of its folds; NaN: not trained. With `rows`, each fold has its first ones right."""
    best = np.array([[0.5 * end, 0.8 * end, end] for end in ends])
    nothing = np.empty(0, dtype=np.uint8)
    right = tuple(
        np.packbits(np.arange(rows) < round(end * rows)) if rows and np.isfinite(end) else nothing for end in ends
    )
    return LearningCurves(number, best, right, tuple(rows if len(bits) else 0 for bits in right), {})


def process_of(places: Sequence[float], priors: Priors = NO_PRIORS) -> StudyProcess:
    """The process of trials at places of one knob, from 0 to 1."""
    trials = []
    for number, place in enumerate(places):
        trial = create_trial(state=TrialState.RUNNING)
        trial.number, trial.params = number, {"dropout": place}
        trials.append(trial)
    return StudyProcess(trials, SearchSpace({"dropout": FloatDistribution(0, 1)}), priors)


def spread(count: int) -> list[float]:
    """So many places, far from each other."""
    return [(0.5 + number * GOLDEN_RATIO) % 1 for number in range(count)]


def study_scores(
    ends: Sequence[Sequence[float]],
    folds: int,
    candidates: Sequence[int] | None = None,
    rows: int = 0,
    places: Sequence[float] | None = None,
) -> StudyScores:
    """The scores of a study whose trials are numbered in order, trial 0 its baseline; all are candidates by default."""
    trials = tuple(scored_trial(number, row, rows) for number, row in enumerate(ends))
    wanted = tuple(range(len(ends))) if candidates is None else tuple(candidates)
    unbiased = {number: np.array(ends[number], dtype=np.float64) for number in wanted} if rows else {}
    process = process_of(spread(len(ends)) if places is None else places)
    return StudyScores("accuracy", trials, folds, wanted, unbiased, process, baseline=0)
