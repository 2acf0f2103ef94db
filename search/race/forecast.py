"""What a study's trials teach about one that is still running: what its knobs promise, how much of a fold's end shows
at each point, and how far one training lies from its trial's level; and from that, where the running trial will end.

Every trial teaches, also one that was stopped: the way from each evaluation to the next is learnt from all that went
it. To stop a trial was decided by what had been seen of it, so that what is learnt is not biased by it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from foldrace.search.race.bayesian_ridge import Regression, regress
from foldrace.search.race.learning_curves import Evidence
from foldrace.trainer.arrays import FloatArray

ALTERNATIONS = 10  # between levels and offsets, of a table with holes; a whole one needs a single one
STANDING_PENALTY = 0.5  # rows' worth of belief that where a fold stands says nothing about its end


@dataclass(frozen=True)
class Forecast:
    """Where a trial will end: the mean and the variance of its value, in the units of the metric."""

    mean: float
    variance: float

    def chance_against(self, other: "Forecast") -> float:
        """The probability of ending above the other one; one half of a tie."""
        difference, variance = self.mean - other.mean, self.variance + other.variance
        if variance <= 0:
            return 0.5 if difference == 0 else float(difference > 0)
        return NormalDist().cdf(difference / math.sqrt(variance))

    def gain_over(self, other: "Forecast") -> float:
        """By how much it will end above the other one, where ending below counts as nothing: expected improvement.

        Jones, Schonlau and Welch 1998, "Efficient Global Optimization of Expensive Black-Box Functions", equation 15.
        """
        difference, deviation = self.mean - other.mean, math.sqrt(self.variance + other.variance)
        if deviation == 0:
            return max(difference, 0.0)
        normal, z = NormalDist(), difference / deviation
        return max(difference * normal.cdf(z) + deviation * normal.pdf(z), 0.0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the trials of a study teach.

    Attributes:
        offsets: (folds,), by how much values in a fold lie above those in the average fold.
        knobs: the names of what the regressions know of a trial, beside where it stands.
        promise: a fold's end by the knobs alone.
        stages: for each evaluation but the last, a fold's end by where it stands there and by the knobs.
        ahead: (evaluations,), the variance of a fold's end around what its stage expects.
        scatter: the variance of one training around its trial's level.
        freedom: the degrees of freedom of `scatter`.
        anyone: where a trial will end of which nothing is known.
    """

    offsets: FloatArray
    knobs: tuple[str, ...]
    promise: Regression
    stages: tuple[Regression, ...]
    ahead: FloatArray
    scatter: float
    freedom: int
    anyone: Forecast

    def forecast(self, trial: Evidence, fold: int, index: int, scatter: float | None = None) -> Forecast:
        """Where a trial will end that stands at evaluation `index` of `fold`, the folds before it done.

        The ends of its folds are Gaussian: they share the trial's level, and scatter around it. Known are the ends
        of the folds before, and of the running one what its stage expects beyond what the knobs had promised.

        Args:
            scatter: the trial's own, where more is known than on average.
        """
        scatter = self.scatter if scatter is None else scatter
        knobs = knob_matrix([trial], self.knobs)[0]
        promised = float(self.promise.at(knobs))
        variance = max(self.promise.noise + self.promise.doubt(knobs) + float(self.ahead[0]), scatter)
        ends = (trial.best[: fold + 1, -1] - self.offsets[: fold + 1]).tolist()
        ends[fold], noise = self._seen(trial, fold, index, knobs, promised, variance)
        if math.isinf(noise):
            ends.pop()
        folds, known = len(self.offsets), len(ends)
        covariance = np.full((folds, folds), variance - scatter) + scatter * np.eye(folds)
        noises = np.diag([0.0] * fold + [noise] * (known - fold))
        with_value = covariance[:known].mean(axis=1)
        gains = np.linalg.lstsq(covariance[:known, :known] + noises, with_value, rcond=None)[0]
        mean = promised + float(gains @ (np.array(ends) - promised))
        return Forecast(mean, max(float(covariance.mean() - gains @ with_value), 0.0))

    def latest(self, trial: Evidence, scatter: float | None = None) -> Forecast | None:
        """Where a trial will end by the last that it has shown; None when that is nothing."""
        if trial.is_whole:
            return Forecast(trial.value, 0.0)
        fold = trial.folds_done
        shown = np.flatnonzero(np.isfinite(trial.best[fold]))
        if len(shown):
            return self.forecast(trial, fold, int(shown[-1]), scatter)
        return self.forecast(trial, fold - 1, len(self.stages), scatter) if fold else None

    def _seen(
        self, trial: Evidence, fold: int, index: int, knobs: FloatArray, promised: float, variance: float
    ) -> tuple[float, float]:
        """The running fold as a reading of its end, and the reading's variance; inf: it says nothing new."""
        here = float(trial.best[fold, index] - self.offsets[fold])
        if index == len(self.stages):
            return here, 0.0
        inputs = np.array([here, *knobs])
        stage, left = self.stages[index], float(self.ahead[index])
        expected = float(stage.at(inputs))
        if left <= 0:
            return expected, 0.0
        precision = 1 / left - 1 / variance if variance > 0 else 0.0
        if precision <= 0:
            return promised, math.inf
        reading = (expected / left - promised / variance) / precision
        return reading, 1 / precision + stage.doubt(inputs) / (left * precision) ** 2


def calibrate(trials: Sequence[Evidence]) -> Calibration:
    """Learn from what trials have shown, at least one of which has a fold behind it."""
    ends = np.stack([np.where(np.arange(len(t.best)) < t.folds_done, t.best[:, -1], np.nan) for t in trials])
    offsets, scatter, freedom = _scatter(ends)
    names = tuple(sorted({name for trial in trials for name in trial.knobs}))
    knobs = knob_matrix(trials, names)
    curves = np.stack([trial.best for trial in trials]) - offsets[:, None]
    stages, ahead, expected = _stages(curves, knobs)
    begun = np.isfinite(expected)
    one_each = np.ones(begun.sum())
    promise = regress(knobs[begun], expected[begun], one_each, np.full(len(names), float(len(names))))
    nothing = regress(knobs[begun, :0], expected[begun], one_each, np.empty(0))
    level = max(nothing.noise + float(ahead[0]) - scatter, 0.0)
    anyone = Forecast(nothing.mean, level + scatter / len(offsets))
    return Calibration(offsets, names, promise, stages, ahead, scatter, freedom, anyone)


def knob_matrix(trials: Sequence[Evidence], names: Sequence[str]) -> FloatArray:
    """(trials, names), where each trial lies in the search space; a knob that it does not have is in the middle."""
    rows = [[trial.knobs.get(name, 0.5) for name in names] for trial in trials]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))


def _scatter(ends: FloatArray) -> tuple[FloatArray, float, int]:
    """Of (trials, folds), NaN where not done: each fold's offset, and the variance around offsets and levels.

    Returns:
        the offsets, (folds,), drawn towards zero where few trials tell them; the variance; its degrees of freedom.
    """
    ends = ends[np.isfinite(ends).sum(axis=1) > 1]  # a single fold is all level
    done = np.isfinite(ends)
    offsets = np.zeros(ends.shape[1])
    if not done.any():
        return offsets, 0.0, 0
    known = done.any(axis=0)
    for _ in range(ALTERNATIONS):
        levels = np.nanmean(ends - offsets, axis=1, keepdims=True)
        offsets[known] = np.nanmean((ends - levels)[:, known], axis=0)
    freedom = int(done.sum() - len(ends) - (known.sum() - 1))
    if len(ends) == 1:  # then all of the scatter would be taken for offsets
        offsets, freedom = np.zeros_like(offsets), int(done.sum() - 1)
    left = ends - offsets - np.nanmean(ends - offsets, axis=1, keepdims=True)
    trials = done.sum(axis=0)
    return offsets * np.maximum(trials - 1, 0) / np.maximum(trials, 1), float(np.nansum(left**2)) / freedom, freedom


def _stages(curves: FloatArray, knobs: FloatArray) -> tuple[tuple[Regression, ...], FloatArray, FloatArray]:
    """Backwards from the end of a fold, regress what is expected at each evaluation on what is known at the one before.

    Args:
        curves: (trials, folds, evaluations), NaN where not seen. All folds of a trial together count as one row.

    Returns:
        the stages in the order of evaluations; what varies beyond each, (evaluations,); and (trials,) what was
        expected of the first fold at its first evaluation.
    """
    trials, folds, evaluations = curves.shape
    beside = np.repeat(knobs[:, None, :], folds, axis=1)
    penalties = np.array([STANDING_PENALTY, *[float(knobs.shape[1])] * knobs.shape[1]])
    expected, ahead = curves[:, :, -1], np.zeros(evaluations)
    stages: list[Regression] = []
    for index in reversed(range(evaluations - 1)):
        inputs = np.concatenate([curves[:, :, index, None], beside], axis=2)
        went = np.isfinite(curves[:, :, index]) & np.isfinite(expected)
        weights = np.repeat(1 / np.maximum(went.sum(axis=1), 1), folds).reshape(trials, folds)
        stages.insert(0, regress(inputs[went], expected[went], weights[went], penalties))
        ahead[index] = ahead[index + 1] + stages[0].noise
        expected = stages[0].at(inputs)
    return tuple(stages), ahead, expected[:, 0]
