"""A Gaussian process over the knobs of a study: few rows, each with a noise of its own, and more knobs than they tell
apart.

After Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), chapters 2, 4 and 5. What is believed
before a row is seen is stated here, not learnt: with ten rows in eight dimensions the likelihood alone would decide
for whatever fits by chance.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular  # type: ignore[import-untyped]

from foldrace.trainer.arrays import FloatArray

LENGTH, LENGTH_DEVIATION = 0.6, 0.8  # of one knob, from 0 to 1: median, and deviation of the logarithm
SIGNAL_DEVIATION = 0.7  # of the logarithm of the process's variance, around that of the targets
NUGGET, NUGGET_DEVIATION = 0.01, 1.0  # the share of the variance that neighbours do not have in common
MEAN_VARIANCE = 1.0  # of the overall mean, in units of the targets' variance
TREND_VARIANCE = 0.25  # of the factor of a trend, around 1
MOST_ROWS = 100  # that lengths and variances are learnt from; further ones only condition the process
JITTER = 1e-6


@dataclass(frozen=True, eq=False)
class Inputs:
    """Where rows lie.

    Attributes:
        columns: (rows, columns), numbers from 0 to 1.
        knobs: (columns,), the number of the knob of each column: columns of one knob have a length in common.
        trend: (rows,), what is believed beforehand of each, in the targets' units; None: nothing is.
    """

    columns: FloatArray
    knobs: tuple[int, ...]
    trend: FloatArray | None = None

    @property
    def count(self) -> int:
        """Of knobs."""
        return max(self.knobs) + 1

    def at(self, rows: NDArray[np.int_]) -> "Inputs":
        return Inputs(self.columns[rows], self.knobs, None if self.trend is None else self.trend[rows])


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """A process that has seen rows.

    Attributes:
        lengths: (knobs,), over which a knob's effect changes.
        signal, nugget: variances, in units of `scale` squared.
        mean, scale: of the targets.
        log_density: the logarithm of the density of the rows that it was learnt from, and of what was learnt.
    """

    inputs: Inputs
    lengths: FloatArray
    signal: float
    nugget: float
    mean: float
    scale: float
    log_density: float
    factor: FloatArray = field(repr=False)  # lower triangular, of the rows' covariance
    dual: FloatArray = field(repr=False)  # the covariance's inverse times the targets

    @property
    def trend_factor(self) -> float:
        """By how much the trend counts, given the rows; 1 was expected."""
        return (
            1.0 if self.inputs.trend is None else 1 + TREND_VARIANCE * float(self.inputs.trend @ self.dual) / self.scale
        )

    def at(self, inputs: Inputs) -> tuple[FloatArray, FloatArray]:
        """(rows,) mean and variance of the function, without the noise of a row."""
        between, half = self._whitened(inputs)
        variance = self._variance(inputs) - (half**2).sum(axis=0)
        return self._mean(inputs, between), self.scale**2 * np.maximum(variance, 1e-12)

    def joint(self, inputs: Inputs, others: Inputs) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(rows,) mean and variance of the function, and (rows, others) its covariance with the function at others."""
        between, half = self._whitened(inputs)
        _, other_half = (between, half) if others is inputs else self._whitened(others)
        variance = self._variance(inputs) - (half**2).sum(axis=0)
        covariance = self._covariance(inputs, others) - half.T @ other_half
        scale = self.scale**2
        return self._mean(inputs, between), scale * np.maximum(variance, 1e-12), scale * covariance

    def _whitened(self, inputs: Inputs) -> tuple[FloatArray, FloatArray]:
        """(rows, seen rows), the covariance with the rows seen; and that by the root of theirs, (seen rows, rows)."""
        between = self._covariance(inputs, self.inputs)
        return between, solve_triangular(self.factor, between.T, lower=True, check_finite=False)

    def given(self, inputs: Inputs, targets: FloatArray, noise: FloatArray) -> "GaussianProcess":
        """The same process, with other rows in place of its own."""
        y, s = _standardised(inputs, targets, noise, self.mean, self.scale)
        covariance = self._covariance(inputs, inputs) + np.diag(s + self.nugget + JITTER)
        factor = cholesky(covariance, lower=True, check_finite=False)
        dual = cho_solve((factor, True), y, check_finite=False)
        return GaussianProcess(
            inputs, self.lengths, self.signal, self.nugget, self.mean, self.scale, self.log_density, factor, dual
        )

    def _mean(self, inputs: Inputs, between: FloatArray) -> FloatArray:
        trend = 0.0 if inputs.trend is None else inputs.trend
        return self.mean + trend + self.scale * (between @ self.dual)

    def _variance(self, inputs: Inputs) -> FloatArray:
        trend = np.zeros(len(inputs.columns)) if inputs.trend is None else inputs.trend / self.scale
        return MEAN_VARIANCE + self.signal + TREND_VARIANCE * trend**2

    def _covariance(self, one: Inputs, other: Inputs) -> FloatArray:
        correlation, _ = _matern(_squared(one.columns, other.columns, self.lengths[list(one.knobs)]))
        return _of_trend(one, other, self.scale) + self.signal * correlation


def fit(inputs: Inputs, targets: FloatArray, noise: FloatArray) -> GaussianProcess:
    """Learn from at least one row: targets, (rows,), and the variance of the noise of each, (rows,)."""
    weights = 1 / (noise + float(np.var(targets)) + 1e-12)
    mean = float(weights @ targets / weights.sum())
    scale = math.sqrt(float(weights @ (targets - mean) ** 2 / weights.sum())) or 1.0
    mean -= 0.0 if inputs.trend is None else float(weights @ inputs.trend / weights.sum())
    chosen = np.sort(np.argsort(noise, kind="stable")[:MOST_ROWS])
    likelihood = _Likelihood(inputs.at(chosen), targets[chosen], noise[chosen], mean, scale)
    learnt, log_density = likelihood.highest()
    lengths, signal, nugget = np.exp(learnt[:-2]), math.exp(learnt[-2]), math.exp(learnt[-1])
    nothing = np.empty((0, 0)), np.empty(0)
    return GaussianProcess(inputs, lengths, signal, nugget, mean, scale, log_density, *nothing).given(
        inputs, targets, noise
    )


class _Likelihood:
    """The density of what is to be learnt, given rows: of logarithms of the lengths, the signal and the nugget."""

    def __init__(self, inputs: Inputs, targets: FloatArray, noise: FloatArray, mean: float, scale: float) -> None:
        self._knobs = inputs.count
        self._targets, self._noise = _standardised(inputs, targets, noise, mean, scale)
        self._fixed = _of_trend(inputs, inputs, scale)
        self._distances = np.zeros((self._knobs, len(targets), len(targets)))
        for column, knob in zip(inputs.columns.T, inputs.knobs, strict=True):
            self._distances[knob] += (column[:, None] - column) ** 2
        # A function of many knobs depends on each of them less: the median length grows with the root of their number.
        median = math.log(LENGTH * math.sqrt(self._knobs))
        self._medians = np.array([*[median] * self._knobs, 0.0, math.log(NUGGET)])
        self._deviations = np.array([*[LENGTH_DEVIATION] * self._knobs, SIGNAL_DEVIATION, NUGGET_DEVIATION])

    def highest(self) -> tuple[FloatArray, float]:
        """Where the density is highest, and its logarithm there."""
        bounds = np.stack([self._medians - 4 * self._deviations, self._medians + 4 * self._deviations], axis=1)
        options = {"maxiter": 40, "ftol": 1e-5}
        from scipy.optimize import minimize  # type: ignore[import-untyped]  # takes half a second; not in each process

        found = minimize(self, self._medians, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return found.x, -float(found.fun)

    def __call__(self, at: FloatArray) -> tuple[float, FloatArray]:
        """Minus the logarithm of the density, and its gradient."""
        squared = self._distances * np.exp(-2 * at[:-2])[:, None, None]
        signal, nugget, rows = math.exp(at[-2]), math.exp(at[-1]), len(self._targets)
        correlation, slope = _matern(squared.sum(axis=0))
        covariance = self._fixed + signal * correlation
        covariance[np.diag_indices(rows)] += self._noise + nugget + JITTER
        factor = cholesky(covariance, lower=True, check_finite=False)
        dual = cho_solve((factor, True), self._targets, check_finite=False)
        pull = np.outer(dual, dual) - cho_solve((factor, True), np.eye(rows), check_finite=False)
        by_lengths = signal * np.einsum("ij,kij->k", pull * slope, squared)
        gradient = 0.5 * np.array([*by_lengths, signal * (pull * correlation).sum(), nugget * np.trace(pull)])
        density = -0.5 * float(self._targets @ dual) - float(np.log(np.diag(factor)).sum())
        away = (at - self._medians) / self._deviations
        return 0.5 * float(away @ away) - density, away / self._deviations - gradient


def _standardised(
    inputs: Inputs, targets: FloatArray, noise: FloatArray, mean: float, scale: float
) -> tuple[FloatArray, FloatArray]:
    trend = 0.0 if inputs.trend is None else inputs.trend
    return (targets - mean - trend) / scale, noise / scale**2


def _of_trend(one: Inputs, other: Inputs, scale: float) -> FloatArray:
    """(rows, rows), the covariance that comes of not knowing the mean, nor by how much the trend counts."""
    covariance = np.full((len(one.columns), len(other.columns)), MEAN_VARIANCE)
    if one.trend is not None and other.trend is not None:
        covariance += TREND_VARIANCE * np.outer(one.trend, other.trend) / scale**2
    return covariance


def _squared(one: FloatArray, other: FloatArray, lengths: FloatArray) -> FloatArray:
    """(rows, rows), squared distances in lengths."""
    a, b = one / lengths, other / lengths
    squared: FloatArray = np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0.0)
    return squared


def _matern(squared: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Matern's correlation with 5/2 at squared distances, and minus twice its derivative by them."""
    distance = np.sqrt(5 * squared)
    decay = np.exp(-distance)
    return (1 + distance + distance**2 / 3) * decay, 5 / 3 * (1 + distance) * decay
