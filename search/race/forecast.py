"""Where a running trial will end, forecast from all trials of its study: a normal distribution of its value.

A `ForecastModel` is learnt from the curves of all trials, also of those that were pruned. A trial is pruned by what was
seen of it, so that the rest of its curves is missing at random (Rubin 1976, "Inference and Missing Data"): each trial
that reached an evaluation teaches the regression up to it, and those that did not reach it bias nothing. All folds of
a trial are pooled. Only trials that went on have later folds, so that the variance of an end comes out too small: by a
fifth in a simulation in which one trial in seven went on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from foldrace.search.race.bayesian_ridge import BayesianRidge
from foldrace.search.race.fold_offsets import (
    estimate_fold_offsets,
    offsets_within_trials,
    within_trial_variance,
)
from foldrace.search.race.learning_curves import LearningCurves, mcnemar_variance
from foldrace.trainer.arrays import FloatArray

CURVE_PENALTY = 0.5  # precision of the prior, in rows, that the best so far says nothing about the end of a fold
PAIR_DEGREES_OF_FREEDOM = 4  # that the rows of one pair of trials count for, beside the variance of the whole study


@dataclass(frozen=True)
class Forecast:
    """A normal distribution of a trial's value, or of the end of one of its folds, in the units of the metric."""

    mean: float
    variance: float

    def probability_of_beating(self, other: "Forecast") -> float:
        """The probability of ending above the other one; one half of a tie."""
        difference, variance = self.mean - other.mean, self.variance + other.variance
        if variance <= 0:
            return 0.5 if difference == 0 else float(difference > 0)
        return NormalDist().cdf(difference / math.sqrt(variance))

    def expected_improvement_over(self, other: "Forecast") -> float:
        """The expected value of the lead over the other one, where a lead below zero counts as zero.

        Jones, Schonlau and Welch 1998, "Efficient Global Optimization of Expensive Black-Box Functions", equation 15.
        """
        difference, deviation = self.mean - other.mean, math.sqrt(self.variance + other.variance)
        if deviation == 0:
            return max(difference, 0.0)
        normal, z = NormalDist(), difference / deviation
        return max(difference * normal.cdf(z) + deviation * normal.pdf(z), 0.0)


@dataclass(frozen=True, eq=False)
class ForecastModel:
    """What the trials of a study say about a trial that is still running.

    Attributes:
        fold_offsets: (folds,), by how much values in a fold lie above those in the average fold.
        knob_names: the inputs of the regressions, beside the best so far.
        prior: the end of a fold, by the knobs alone.
        end_regressions: for each evaluation but the last, the end of a fold by the best so far there and the knobs.
        end_variances: (evaluations,), of the end of a fold around what the regression at the evaluation expects.
        fold_variance: of the end of a fold around the level of its trial.
        degrees_of_freedom: of `fold_variance`.
        unknown_trial: the forecast of a trial of which nothing is known.
    """

    fold_offsets: FloatArray
    knob_names: tuple[str, ...]
    prior: BayesianRidge
    end_regressions: tuple[BayesianRidge, ...]
    end_variances: FloatArray
    fold_variance: float
    degrees_of_freedom: int
    unknown_trial: Forecast

    @classmethod
    def fit(cls, trials: Sequence[LearningCurves]) -> "ForecastModel":
        """Learn from the curves of trials, at least one of which has completed a fold.

        The regressions need the offsets of the folds, and the offsets need the regressions. The first offsets are those
        within trials, which pruning biases. The second ones are final: further rounds change them by hundredths of a
        point.
        """
        ends = np.stack([trial.best[:, -1] for trial in trials])
        model = cls._regress(trials, offsets_within_trials(ends), *within_trial_variance(ends))
        return cls._regress(trials, _estimate_offsets(model, trials), model.fold_variance, model.degrees_of_freedom)

    @classmethod
    def _regress(
        cls, trials: Sequence[LearningCurves], offsets: FloatArray, fold_variance: float, degrees_of_freedom: int
    ) -> "ForecastModel":
        names = tuple(sorted({name for trial in trials for name in trial.knobs}))
        knobs = knob_matrix(trials, names)
        curves = np.stack([trial.best for trial in trials]) - offsets[:, None]
        regressions, variances, expected = _regress_ends(curves, knobs)
        begun = np.isfinite(expected)
        weights = np.ones(begun.sum())
        prior = BayesianRidge.fit(knobs[begun], expected[begun], weights, np.full(len(names), float(len(names))))
        marginal = BayesianRidge.fit(knobs[begun, :0], expected[begun], weights, np.empty(0))
        level_variance = max(marginal.noise + float(variances[0]) - fold_variance, 0.0)
        unknown_trial = Forecast(marginal.mean, level_variance + fold_variance / len(offsets))
        return cls(offsets, names, prior, regressions, variances, fold_variance, degrees_of_freedom, unknown_trial)

    def forecast(self, trial: LearningCurves, fold_variance: float | None = None) -> Forecast | None:
        """The forecast of a trial from all that it has shown, in whichever folds; None when that is nothing.

        The ends of its folds are jointly Gaussian: they share the trial's level, and vary around it.

        Args:
            fold_variance: of this trial, where more is known than the average of the study.
        """
        if trial.is_complete:
            return Forecast(trial.value, 0.0)
        if trial.is_empty:
            return None
        fold_variance = self.fold_variance if fold_variance is None else fold_variance
        prior = self.prior_end(trial, fold_variance)
        ends, noises = self.observe_ends(trial, prior)
        observed, folds = np.isfinite(noises), len(self.fold_offsets)
        covariance = np.full((folds, folds), prior.variance - fold_variance) + fold_variance * np.eye(folds)
        with_value = covariance[observed].mean(axis=1)
        of_observed = covariance[np.ix_(observed, observed)] + np.diag(noises[observed])
        gains = np.linalg.lstsq(of_observed, with_value, rcond=None)[0]
        mean = prior.mean + float(gains @ (ends[observed] - prior.mean))
        return Forecast(mean, max(float(covariance.mean() - gains @ with_value), 0.0))

    def prior_end(self, trial: LearningCurves, fold_variance: float) -> Forecast:
        """The end of a fold of this trial, in the average fold, by the knobs alone."""
        knobs = knob_matrix([trial], self.knob_names)[0]
        variance = self.prior.noise + self.prior.mean_variance(knobs) + float(self.end_variances[0])
        return Forecast(float(self.prior.predict(knobs)), max(variance, fold_variance))

    def observe_ends(self, trial: LearningCurves, prior: Forecast) -> tuple[FloatArray, FloatArray]:
        """The ends of the folds, (folds,), without their offsets, and the variance of the noise of each observation.

        The end of a fold that is done has no noise. That of a fold that runs, or was stopped, is read from its best so
        far. A fold that was not begun is not observed: `prior`'s mean with infinite noise.
        """
        ends, noises = np.full(len(self.fold_offsets), prior.mean), np.full(len(self.fold_offsets), np.inf)
        knobs = knob_matrix([trial], self.knob_names)[0]
        for fold, index in enumerate(trial.reached):
            if index >= 0:
                value = float(trial.best[fold, index] - self.fold_offsets[fold])
                ends[fold], noises[fold] = self.read_end(value, int(index), knobs, prior)
        return ends, noises

    def read_end(self, value: float, index: int, knobs: FloatArray, prior: Forecast) -> tuple[float, float]:
        """The best so far of a running fold as a reading of its end, and the variance of the reading's noise.

        The regression at the evaluation gives the end by the best so far and the knobs; the reading is what the best
        so far adds to `prior`, which is the end by the knobs alone. An infinite variance: it adds nothing.
        """
        if index == len(self.end_regressions):
            return value, 0.0
        inputs = np.array([value, *knobs])
        regression, left = self.end_regressions[index], float(self.end_variances[index])
        expected = float(regression.predict(inputs))
        if left <= 0:
            return expected, 0.0
        precision = 1 / left - 1 / prior.variance if prior.variance > 0 else 0.0
        if precision <= 0:
            return prior.mean, math.inf
        reading = (expected / left - prior.mean / prior.variance) / precision
        return reading, 1 / precision + regression.mean_variance(inputs) / (left * precision) ** 2


def knob_matrix(trials: Sequence[LearningCurves], names: Sequence[str]) -> FloatArray:
    """(trials, names), the normalised knobs of each trial; one that a trial does not have is in the middle, 0.5."""
    rows = [[trial.knobs.get(name, 0.5) for name in names] for trial in trials]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))


def fold_variance_of_pair(trial: LearningCurves, incumbent: LearningCurves, model: ForecastModel) -> float:
    """The variance of a fold's end around its trial's level, as it counts between these two trials.

    Two trials that are right on nearly the same rows are compared more sharply than two that are not: the variance
    from their discordant rows is weighed with that of the whole study, by degrees of freedom.
    """
    of_difference = mcnemar_variance(trial, incumbent)
    if of_difference is None:
        return model.fold_variance
    study, pair = model.degrees_of_freedom, PAIR_DEGREES_OF_FREEDOM
    return (study * model.fold_variance + pair * of_difference / 2) / (study + pair)


def _estimate_offsets(model: ForecastModel, trials: Sequence[LearningCurves]) -> FloatArray:
    """The offset of each fold, (folds,), by all that all trials have shown, as `model` reads it."""
    residuals, noises = np.full((2, len(trials), len(model.fold_offsets)), np.nan)
    level_variances = np.zeros(len(trials))
    for row, trial in enumerate(trials):
        if not trial.is_empty:
            prior = model.prior_end(trial, model.fold_variance)
            level_variances[row] = prior.variance - model.fold_variance
            ends, noises[row] = model.observe_ends(trial, prior)
            residuals[row] = ends + model.fold_offsets - prior.mean
    return estimate_fold_offsets(residuals, noises, level_variances, model.fold_variance)


def _regress_ends(curves: FloatArray, knobs: FloatArray) -> tuple[tuple[BayesianRidge, ...], FloatArray, FloatArray]:
    """Backwards from the end of a fold, regress what is expected at each evaluation on what is known one before.

    Args:
        curves: (trials, folds, evaluations), NaN where not seen. All folds of a trial together count as one row.
        knobs: (trials, names).

    Returns:
        the regressions in the order of evaluations; the variance of the end around each, (evaluations,); and the end
        of the first fold that each trial has begun, as expected at its first evaluation, (trials,).
    """
    trials, folds, evaluations = curves.shape
    repeated = np.repeat(knobs[:, None, :], folds, axis=1)
    penalties = np.array([CURVE_PENALTY, *[float(knobs.shape[1])] * knobs.shape[1]])
    expected, variances = curves[:, :, -1], np.zeros(evaluations)
    regressions: list[BayesianRidge] = []
    for index in reversed(range(evaluations - 1)):
        inputs = np.concatenate([curves[:, :, index, None], repeated], axis=2)
        has_both = np.isfinite(curves[:, :, index]) & np.isfinite(expected)
        weights = np.repeat(1 / np.maximum(has_both.sum(axis=1), 1), folds).reshape(trials, folds)
        regression = BayesianRidge.fit(inputs[has_both], expected[has_both], weights[has_both], penalties)
        regressions.insert(0, regression)
        variances[index] = variances[index + 1] + regression.noise
        expected = regression.predict(inputs)
    first = np.isfinite(expected).argmax(axis=1)
    return tuple(regressions), variances, expected[np.arange(trials), first]
