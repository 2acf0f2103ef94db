"""What is believed of a study's trials by all their folds, those of the search and fresh ones: who leads, how surely.

It is the belief of the sampler: readings of levels without the knobs, with the noise pooled over the study. Here the
noise counts the training rows that folds share too.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from foldrace.search.assessment.intervals import nadeau_bengio_variance
from foldrace.search.assessment.levels import MIN_VARIANCE, LevelPrior
from foldrace.search.race.forecast import ForecastModel, fold_variance_of_pair
from foldrace.search.race.learning_curves import LearningCurves, mcnemar_variance
from foldrace.search.sampler.readings import fit_without_knobs, read_levels_by
from foldrace.trainer.arrays import FloatArray

MIN_DEGREES_OF_FREEDOM = 2  # of the variance between folds, before anything is believed
CLEAR = 0.95  # the probability of a lead that is more than chance


@dataclass(frozen=True)
class Lead:
    """By how much one trial leads another.

    Attributes:
        over: the number of the other one.
        difference: of their scores, over the folds that both were trained on; else of what is believed of them.
        probability: that it is the better one, on other data and seeds.
    """

    over: int
    difference: float
    probability: float

    @property
    def is_clear(self) -> bool:
        return self.probability >= CLEAR

    @property
    def verdict(self) -> str:
        surely = f"ahead with probability {self.probability:.2f}"
        return surely if self.is_clear else f"within chance ({surely})"


@dataclass(frozen=True, eq=False)
class Belief:
    """What is believed of trials that have shown something; `believe` makes it.

    Attributes:
        trials: their curves, the best first by `means`.
        folds: of one split of the rows.
        values, noises: (trials,), readings of their levels, and the variances of their noise.
        means, variances: (trials,), of the levels, given the readings of all.
    """

    trials: tuple[LearningCurves, ...]
    folds: int
    model: ForecastModel
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
            variance = nadeau_bengio_variance(
                fold_variance_of_pair(one, other, self.model), int(shared.sum()), self.folds
            )
            noises = np.full(2, max(variance * _tail(self.model), MIN_VARIANCE))
        means, variances = self.prior.posterior(self.values[rows], noises)
        believed = float(means[0] - means[1])
        difference = float((one.best - other.best)[shared, -1].mean()) if shared.any() else believed
        return Lead(over, difference, NormalDist().cdf(believed / math.sqrt(float(variances.sum()))))

    @property
    def model_variance(self) -> float:
        """The variance between models of one trial, without that by which validation rows each was scored on."""
        known = [trial for number in self.order for trial in self.trials if trial.number == number][:COMPARED]
        of_rows = [
            variance / 2
            for i, one in enumerate(known)
            for other in known[:i]
            if (variance := mcnemar_variance(one, other)) is not None
        ]
        return max(self.model.fold_variance - (float(np.mean(of_rows)) if of_rows else 0.0), 0.0)

    def _row(self, number: int) -> int:
        return {trial.number: row for row, trial in enumerate(self.trials)}[number]


COMPARED = 8  # of the best trials, each with each


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
    model = fit_without_knobs(begun)
    if model is None or model.degrees_of_freedom < MIN_DEGREES_OF_FREEDOM:
        return None
    readings = read_levels_by(model, begun)
    noises = (readings.variances + model.fold_variance / (folds - 1)) * _tail(model)
    known = np.isfinite(noises)
    begun = tuple(trial for trial, is_known in zip(begun, known, strict=True) if is_known)
    values, noises = readings.values[known], np.maximum(noises[known], MIN_VARIANCE)
    prior = LevelPrior.fit(values, noises)
    return Belief(begun, folds, model, prior, values, noises, *prior.posterior(values, noises))


def _tail(model: ForecastModel) -> float:
    """What a variance that is known by few degrees of freedom is raised by: the variance of Student's t."""
    freedom = max(model.degrees_of_freedom, 3)
    return freedom / (freedom - 2)


def _without_fold(trial: LearningCurves, fold: int) -> LearningCurves:
    best = trial.best.copy()
    best[fold] = np.nan
    right, rows = list(trial.right), list(trial.rows)
    right[fold], rows[fold] = np.empty(0, dtype=np.uint8), 0
    return replace(trial, best=best, right=tuple(right), rows=tuple(rows))
