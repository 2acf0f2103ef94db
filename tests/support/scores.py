"""Scores of invented trials, as folds of a search and of a rescore leave them."""

from collections.abc import Sequence

import numpy as np

from foldrace.search.assessment.assess import StudyScores
from foldrace.search.race.learning_curves import LearningCurves

EVALUATIONS = 3


def scored_trial(number: int, ends: Sequence[float], rows: int = 0) -> LearningCurves:
    """A trial by the end of each of its folds; NaN: not trained. With `rows`, each fold has its first ones right."""
    best = np.array([[0.5 * end, 0.8 * end, end] for end in ends])
    nothing = np.empty(0, dtype=np.uint8)
    right = tuple(
        np.packbits(np.arange(rows) < round(end * rows)) if rows and np.isfinite(end) else nothing for end in ends
    )
    return LearningCurves(number, best, right, tuple(rows if len(bits) else 0 for bits in right), {})


def study_scores(
    ends: Sequence[Sequence[float]], folds: int, candidates: Sequence[int] | None = None, rows: int = 0
) -> StudyScores:
    """The scores of a study whose trials are numbered in order, trial 0 its baseline; all are candidates by default."""
    trials = tuple(scored_trial(number, row, rows) for number, row in enumerate(ends))
    wanted = tuple(range(len(ends))) if candidates is None else tuple(candidates)
    unbiased = {number: np.array(ends[number], dtype=np.float64) for number in wanted} if rows else {}
    return StudyScores("accuracy", trials, folds, wanted, unbiased, baseline=0)
