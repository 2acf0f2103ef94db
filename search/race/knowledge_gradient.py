"""What a fold is worth before it is trained: by how much the best mean can be expected to rise.

The knowledge gradient of correlated normal beliefs: Frazier, Powell and Dayanik 2009, "The Knowledge-Gradient Policy
for Correlated Normal Beliefs". A fold is noisy, and tells of each configuration that is like its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from foldrace.search.race.forecast import Forecast
from foldrace.trainer.arrays import FloatArray

MIN_VARIANCE = 1e-12
_Z = np.linspace(-6, 6, 65)  # standard deviations, over which an expected value is summed
_WEIGHTS = np.exp(-0.5 * _Z**2) / np.exp(-0.5 * _Z**2).sum()


def expected_rise(means: FloatArray, slopes: FloatArray) -> FloatArray:
    """(rows,), by how much the highest of `means` can be expected to rise by an observation.

    Args:
        means: (levels,), or (rows, levels) where each observation has its own.
        slopes: (rows, levels), by how much each mean moves when the observation is off by a standard deviation.
    """
    highest = (means[..., None] + slopes[:, :, None] * _Z).max(axis=1)
    rise: FloatArray = highest @ _WEIGHTS - means.max(axis=-1)
    return np.maximum(rise, 0.0)


def slopes(covariance: FloatArray, variances: FloatArray, noise: float) -> FloatArray:
    """(rows, levels), by how much means move with one noisy observation each.

    Args:
        covariance: (rows, levels), of what is observed with the levels.
        variances: (rows,), of what is observed, without the noise.
    """
    found: FloatArray = covariance / np.sqrt(np.maximum(variances + noise, MIN_VARIANCE))[:, None]
    return found


@dataclass(frozen=True, eq=False)
class JointLevels:
    """What is believed of the levels of trials, jointly normal.

    Attributes:
        numbers: of the trials.
        means: (trials,).
        covariance: (trials, trials).
    """

    numbers: tuple[int, ...]
    means: FloatArray
    covariance: FloatArray

    @classmethod
    def nothing(cls) -> Self:
        """Of no trial."""
        return cls((), np.empty(0), np.empty((0, 0)))

    def mean(self, number: int) -> float:
        """Of the level of a trial. Raises ValueError: nothing is believed of it."""
        return float(self.means[self.numbers.index(number)])

    def probability_of_beating(self, number: int, other: int) -> float:
        """The probability that the level of one trial is above that of another."""
        one, two = self.numbers.index(number), self.numbers.index(other)
        variance = self.covariance[one, one] + self.covariance[two, two] - 2 * self.covariance[one, two]
        lead = Forecast(float(self.means[one] - self.means[two]), max(float(variance), 0.0))
        return lead.probability_of_beating(Forecast(0.0, 0.0))

    def worth_of_folds(self, noise: float, running: Mapping[int, int]) -> dict[int, float]:
        """By how much the best mean can be expected to rise with one more fold of each trial.

        Args:
            noise: the variance of a fold around its trial's level.
            running: the number of folds of each trial that are trained now: they will have told their part of it.
        """
        if not self.numbers:
            return {}
        covariance = self.covariance
        for number, folds in running.items():
            if folds and number in self.numbers:
                row = covariance[self.numbers.index(number)]
                told = row[self.numbers.index(number)] + noise / folds
                covariance = covariance - np.outer(row, row) / max(float(told), MIN_VARIANCE)
        rises = expected_rise(self.means, slopes(covariance, np.diag(covariance), noise))
        return dict(zip(self.numbers, map(float, rises), strict=True))
