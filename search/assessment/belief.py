"""What is believed of a study's trials by all their folds, those of the search and fresh ones: who leads, how surely.

It is the belief of the sampler: readings of levels without the knobs, with the noise pooled over the study. Here the
noise counts the training rows that folds share too.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from foldrace.search.assessment.assessment import Lead
from foldrace.search.assessment.levels import LevelPrior
from foldrace.search.race.fold_offsets import MIN_DEGREES_OF_FREEDOM, MIN_VARIANCE, within_trial_variance
from foldrace.search.race.forecast import ForecastModel, fold_variance_of_pair
from foldrace.search.race.learning_curves import LearningCurves, mcnemar_variance
from foldrace.search.sampler.readings import read_levels
from foldrace.trainer.arrays import FloatArray

COMPARED = 8  # of the trials with the best readings, each with each
POOLED = 2  # degrees of freedom that the variance of all trials has in that of the leaders


@dataclass(frozen=True)
class FoldVariance:
    """The variance of a trial's score between folds.

    Attributes:
        whole: without what is common to all trials in a fold.
        of_models: of it, what is left without the variance by which rows each fold was scored on.
        degrees_of_freedom: of both.
    """

    whole: float
    of_models: float
    degrees_of_freedom: int


@dataclass(frozen=True, eq=False)
class Belief:
    """What is believed of trials that have shown something; `believe` makes it.

    Attributes:
        trials: their curves, the best first by `means`.
        folds: of one split of the rows.
        fold_variance: of the trials that may be the best: bad ones, which learn in some folds only, vary far more.
        values, noises: (trials,), readings of their levels, and the variances of their noise.
        means, variances: (trials,), of the levels, given the readings of all.
    """

    trials: tuple[LearningCurves, ...]
    folds: int
    model: ForecastModel
    fold_variance: FoldVariance
    prior: LevelPrior
    values: FloatArray
    noises: FloatArray
    means: FloatArray
    variances: FloatArray

    @property
    def order(self) -> list[int]:
        """The numbers of the trials, the best first; of equal ones the lower number."""
        keys = [(-mean, trial.number) for mean, trial in zip(self.means, self.trials, strict=True)]
        return [number for _, number in sorted(keys)]

    def leader(self, among: Collection[int]) -> int | None:
        """The trial with the highest level, of these; None when nothing is known of any."""
        return next((number for number in self.order if number in among), None)

    def level(self, number: int) -> tuple[float, float]:
        """Mean and variance of what is believed of a trial's level. Raises KeyError: it has shown nothing."""
        row = self._row(number)
        return float(self.means[row]), float(self.variances[row])

    def lead(self, number: int, over: int) -> Lead:
        """By how much a trial leads another one: paired by fold, where both were trained on the same ones."""
        rows = [self._row(number), self._row(over)]
        one, other = (self.trials[row] for row in rows)
        shared = np.isfinite(one.best[:, -1]) & np.isfinite(other.best[:, -1])
        noises = self.noises[rows]
        if shared.sum() > 1 and one.folds_done == other.folds_done == shared.sum():
            variance = fold_variance_of_pair(one, other, self.model) / shared.sum() + self.shared_variance
            noises = np.full(2, max(variance * _tail(self.model), MIN_VARIANCE))
        means, variances = self.prior.posterior(self.values[rows], noises)
        believed = float(means[0] - means[1])
        difference = float((one.best - other.best)[shared, -1].mean()) if shared.any() else believed
        variance = float(variances.sum()) + max(_variance_of_a_row(one), _variance_of_a_row(other))
        return Lead(over, difference, NormalDist().cdf(believed / math.sqrt(variance)))

    @property
    def shared_variance(self) -> float:
        """The variance of the mean of any number of folds by the training rows that they share."""
        return _shared_variance(self.fold_variance.of_models, self.folds)

    def _row(self, number: int) -> int:
        return {trial.number: row for row, trial in enumerate(self.trials)}[number]


def believe(trials: Sequence[LearningCurves], folds: int, without: int | None = None) -> Belief | None:
    """What is believed of trials by all their folds; None while too little is known.

    Args:
        trials: their curves, of the search's folds and of fresh ones, all of the same shape.
        folds: of one split of the rows.
        without: a fold that is left out, as if it had never been trained.
    """
    if without is not None:
        trials = [_without_fold(trial, without) for trial in trials]
    begun = tuple(trial for trial in trials if not trial.is_empty)
    if not any(trial.folds_done for trial in begun):
        return None
    model = ForecastModel.fit([replace(trial, knobs={}) for trial in begun])
    if model.degrees_of_freedom < MIN_DEGREES_OF_FREEDOM:
        return None
    readings = read_levels(begun)
    of_models = _model_variance([begun[row] for row in np.argsort(-readings.values)], model.fold_variance)
    noises = (readings.variances + _shared_variance(of_models, folds)) * _tail(model)
    known = np.isfinite(noises)
    begun = tuple(trial for trial, is_known in zip(begun, known, strict=True) if is_known)
    values, noises = readings.values[known], np.maximum(noises[known], MIN_VARIANCE)
    prior = LevelPrior.fit(values, noises)
    means, variances = prior.posterior(values, noises)
    by_mean = [begun[row] for row in np.argsort(-means)]
    leaders = by_mean[: int((means + 2 * np.sqrt(variances) >= means.max()).sum())]
    return Belief(begun, folds, model, _variance_of(leaders, model), prior, values, noises, means, variances)


def _variance_of(leaders: Sequence[LearningCurves], model: ForecastModel) -> FoldVariance:
    """The variance between folds of the leaders; where they have few folds, that of all trials counts too."""
    found, degrees = within_trial_variance(np.stack([trial.best[:, -1] for trial in leaders]))
    whole = (degrees * found + POOLED * model.fold_variance) / (degrees + POOLED)
    return FoldVariance(whole, _model_variance(leaders, whole), degrees + POOLED)


def _model_variance(trials: Sequence[LearningCurves], fold_variance: float) -> float:
    """The variance between folds that is left when that of their rows is taken off; the best trials come first.

    A pair of trials that are scored on the same rows differs by which of them each gets right (McNemar), half of that
    for each. Where no rows are known, all of the variance may be that of models.
    """
    known = [trial for trial in trials if any(trial.rows)][:COMPARED]
    pairs = [mcnemar_variance(one, other) for i, one in enumerate(known) for other in known[:i]]
    of_rows = [variance / 2 for variance in pairs if variance is not None]
    return max(fold_variance - (float(np.mean(of_rows)) if of_rows else 0.0), 0.0)


def _shared_variance(model_variance: float, folds: int) -> float:
    """Nadeau and Bengio's correction of the variance of a mean, apart from the mean's own: test over training rows.

    It is of what training rows can change: rows that a fold is scored on are no other fold's.
    """
    return model_variance / (folds - 1)


def _tail(model: ForecastModel) -> float:
    """What a variance that is known by few degrees of freedom is raised by: the variance of Student's t."""
    freedom = max(model.degrees_of_freedom, 3)
    return freedom / (freedom - 2)


def _variance_of_a_row(trial: LearningCurves) -> float:
    """What one row more or less would make: trials whose folds all end alike are not known better. 0 without bits."""
    rows = sum(trial.rows)
    return 1 / rows**2 if rows else 0.0


def _without_fold(trial: LearningCurves, fold: int) -> LearningCurves:
    best = trial.best.copy()
    best[fold] = np.nan
    right, rows = list(trial.right), list(trial.rows)
    right[fold], rows[fold] = np.empty(0, dtype=np.uint8), 0
    return replace(trial, best=best, right=tuple(right), rows=tuple(rows))
