"""How good the trial that a search chose really is: the score that chose it, one that did not, and what luck gave.

The score of the best of many is optimistic twice: its folds chose the trial, and their rows chose the best of its
evaluations. Folds of a rescore chose nothing. Each of them scores the trial that leads by all other folds, so that no
fold scores the trial that it helped to choose (cross-fitting), by `half_splits` where the metric allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foldrace.search.assessment.assessment import Assessment, Lead
from foldrace.search.assessment.belief import Belief, Process, believe
from foldrace.search.assessment.intervals import (
    Interval,
    kfold_interval,
    nadeau_bengio_variance,
    row_variance,
    student_interval,
)
from foldrace.search.race.fold_offsets import MIN_VARIANCE
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.trainer.arrays import FloatArray

MIN_FRESH = 2  # folds, before they have a variance


@dataclass(frozen=True, eq=False)
class StudyScores:
    """The scores of a study's trials in the folds of its search, and in fresh ones.

    Attributes:
        metric: by its name.
        trials: their curves; first the folds of the search, then the fresh ones of all repeats.
        folds: of the search, and of each repeat.
        candidates: the numbers of the trials that may be exported, the best by its value first; then those put aside.
        unbiased: by number, (all folds,), each fold's score without the luck of its best evaluation; NaN where it is
            not known.
        process: what the process of the study believes.
        baseline: the number of the trial that others are compared with; None: there is none.
    """

    metric: str
    trials: tuple[LearningCurves, ...]
    folds: int
    candidates: tuple[int, ...]
    unbiased: Mapping[int, FloatArray]
    process: Process
    baseline: int | None = None

    @cached_property
    def belief(self) -> Belief | None:
        """What is believed of the trials by all folds; None while too little is known."""
        return believe(self.trials, self.folds, self.process)

    @cached_property
    def leaders(self) -> list[int]:
        """The candidates by their levels by all folds, the highest first; by their means, while too little is known."""
        by_level = [] if self.belief is None else [one for one in self.belief.order if one in self.candidates]
        return by_level or sorted(self.candidates, key=lambda one: (-self.mean(one), one))

    @property
    def leader(self) -> int | None:
        """The first of the leaders; None while there is no candidate."""
        return next(iter(self.leaders), None)

    def mean(self, number: int) -> float:
        """Of the folds of the search that are done."""
        return float(np.nanmean(self.trial(number).best[: self.folds, -1]))

    def trial(self, number: int) -> LearningCurves:
        return next(trial for trial in self.trials if trial.number == number)


def assess(scores: StudyScores, number: int | None = None) -> Assessment | None:
    """How good the leader of a study is, or the candidate of that number.

    None while too little is known: without two folds that are done, say, or of a trial that was added by hand.
    """
    belief = scores.belief
    number = scores.leader if number is None else number
    if belief is None or number is None or number not in belief.order:
        return None
    chosen = scores.mean(number)
    fresh = _fresh_scores(scores, number)
    honest = _believed(scores, belief, number) if len(fresh) < MIN_FRESH else _scored(scores, belief, fresh)
    picked = "" if _is_unbiased(scores, number) else scores.metric
    fresh_folds = len(fresh) if len(fresh) >= MIN_FRESH else 0
    return Assessment(number, chosen, honest, fresh_folds, _leads(scores, belief, number), picked, scores.baseline)


def _fresh_scores(scores: StudyScores, number: int) -> dict[int, float]:
    """By fresh fold, the score of the trial that leads by all others; of a trial that does not lead, its own score."""
    found = {}
    for fold in range(scores.folds, scores.trials[0].best.shape[0]):
        scored = [one for one in scores.candidates if np.isfinite(scores.trial(one).best[fold, -1])]
        if number == scores.leader:
            belief = believe(scores.trials, scores.folds, scores.process, without=fold)
            scorer = None if belief is None else belief.levels.leader(scored)
        else:
            scorer = number if number in scored else None
        if scorer is not None:
            found[fold] = _score(scores, scorer, fold)
    return found


def _score(scores: StudyScores, number: int, fold: int) -> float:
    unbiased = float(scores.unbiased[number][fold]) if number in scores.unbiased else np.nan
    return unbiased if np.isfinite(unbiased) else float(scores.trial(number).best[fold, -1])


def _scored(scores: StudyScores, belief: Belief, fresh: Mapping[int, float]) -> Interval:
    """The mean of fresh folds, and its interval.

    Where rows can be told apart, its variance has two parts: which rows the folds were scored on, each of them once in
    a repeat, and how models differ, which Nadeau and Bengio's factor is for. The second one is pooled over the trials
    that may be the best.
    """
    values = list(fresh.values())
    rows = [max((trial.rows[fold] for trial in scores.trials), default=0) for fold in fresh]
    if not all(rows):
        return kfold_interval(values, scores.folds)
    repeats = len({(fold - scores.folds) // scores.folds for fold in fresh})
    mean = float(np.average(values, weights=rows))
    variance = nadeau_bengio_variance(belief.fold_variance.of_models, len(values), scores.folds)
    of_rows = row_variance(mean, round(sum(rows) / repeats))
    return student_interval(mean, variance, belief.fold_variance.degrees_of_freedom, of_rows)


def _believed(scores: StudyScores, belief: Belief, number: int) -> Interval:
    """What is believed of a trial: its level, by those like it too, less the luck of evaluations."""
    level, between, known = belief.level(number), belief.fold_variance, 0.0
    mean, variance = level.mean, level.variance
    of_trial = scores.trial(number)
    rows = sum(of_trial.rows[: scores.folds])
    if rows:
        mean -= _evaluation_bias(scores)
        of_models = nadeau_bengio_variance(between.of_models, of_trial.folds_done, scores.folds)
        of_rows = (between.whole - between.of_models) / of_trial.folds_done
        variance *= of_models / max(of_models + of_rows, MIN_VARIANCE)  # the part by rows is counted whole below
        known = row_variance(mean, rows)
    else:
        ends = of_trial.best[: scores.folds, -1]
        ends = ends[np.isfinite(ends)]
        of_fold = float(np.var(ends, ddof=1)) if len(ends) > 1 else between.whole
        variance += nadeau_bengio_variance(of_fold, len(ends), scores.folds)
    return student_interval(mean, variance, between.degrees_of_freedom, known)


def _evaluation_bias(scores: StudyScores) -> float:
    """By how much the best evaluation of a fold is too good, on average over all folds where it is known."""
    found = [scores.trial(number).best[:, -1] - unbiased for number, unbiased in scores.unbiased.items()]
    known = np.concatenate(found) if found else np.empty(0)
    return float(np.nanmean(known)) if np.isfinite(known).any() else 0.0


def _is_unbiased(scores: StudyScores, number: int) -> bool:
    return number in scores.unbiased and bool(np.isfinite(scores.unbiased[number]).any())


def _leads(scores: StudyScores, belief: Belief, number: int) -> tuple[Lead, ...]:
    second = belief.levels.leader([one for one in scores.candidates if one != number])
    others = dict.fromkeys([second, scores.baseline])
    return tuple(belief.lead(number, one) for one in others if one not in (None, number) and one in belief.order)
