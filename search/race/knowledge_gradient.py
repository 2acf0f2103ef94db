"""What a fold is worth before it is trained: by how much the best mean can be expected to rise.

The knowledge gradient of correlated normal beliefs: Frazier, Powell and Dayanik 2009, "The Knowledge-Gradient Policy
for Correlated Normal Beliefs". A fold is noisy, and tells of each configuration that is like its own.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from foldrace.search.race.fold_offsets import MIN_VARIANCE
from foldrace.search.race.forecast import Forecast
from foldrace.trainer.arrays import FloatArray

RIVALS = 40  # levels with the highest means: one of them, or the observed one, will be the best
_Z = np.linspace(-6, 6, 65)  # standard deviations, over which an expected value is summed
_WEIGHTS = np.exp(-0.5 * _Z**2) / np.exp(-0.5 * _Z**2).sum()


def expected_rise(
    rivals: FloatArray, means: FloatArray, covariance: FloatArray, variances: FloatArray, noise: float
) -> FloatArray:
    """(rows,), by how much the best mean can be expected to rise with one observation of each row.

    Args:
        rivals: (rivals,), means of levels, one of which may be the best.
        means, variances: (rows,), of the level that is observed, without the noise of the observation.
        covariance: (rows, rivals), of that level with the rivals.
    """
    deviations = np.sqrt(np.maximum(variances + noise, MIN_VARIANCE))[:, None]
    before = np.column_stack([np.tile(rivals, (len(means), 1)), means])
    moves = np.column_stack([covariance, variances]) / deviations  # of each mean, with an observation off by one
    after = (before[:, :, None] + moves[:, :, None] * _Z).max(axis=1)
    rise: FloatArray = after @ _WEIGHTS - before.max(axis=1)
    return np.maximum(rise, 0.0)


@dataclass(frozen=True, eq=False)
class JointLevels:
    """What is believed of levels, jointly normal.

    Attributes:
        numbers: of the trials whose levels come first; the rest are rivals, of which no fold can be asked for.
        means: (levels,).
        covariance: (levels, levels).
        once_done: the covariance once the folds that are trained now are done.
    """

    numbers: tuple[int, ...]
    means: FloatArray
    covariance: FloatArray
    once_done: FloatArray

    @classmethod
    def nothing(cls) -> Self:
        """Of nothing."""
        return cls((), np.empty(0), np.empty((0, 0)), np.empty((0, 0)))

    @classmethod
    def apart(cls, numbers: Sequence[int], means: FloatArray, variances: FloatArray) -> Self:
        """Levels that tell nothing of each other."""
        return cls(tuple(numbers), means, np.diag(variances), np.diag(variances))

    def leader(self, among: Collection[int]) -> int | None:
        """The trial with the highest mean, of these; of equal ones the lower number; None: nothing is known of any."""
        known = [(mean, -number) for mean, number in zip(self.means, self.numbers, strict=False) if number in among]
        return -max(known)[1] if known else None

    def level(self, number: int) -> Forecast:
        """What is believed of a trial's level. Raises ValueError: nothing is."""
        row = self.numbers.index(number)
        return Forecast(float(self.means[row]), float(self.covariance[row, row]))

    def lead(self, number: int, other: int) -> Forecast:
        """By how much the level of one trial is above that of another. Raises ValueError: nothing is known of one."""
        one, two = self.numbers.index(number), self.numbers.index(other)
        variance = self.covariance[one, one] + self.covariance[two, two] - 2 * self.covariance[one, two]
        return Forecast(float(self.means[one] - self.means[two]), max(float(variance), 0.0))

    def probability_of_beating(self, number: int, other: int) -> float:
        """The probability that the level of one trial is above that of another."""
        return self.lead(number, other).probability_of_beating(Forecast(0.0, 0.0))

    def worth_of_folds(self, noise: float) -> dict[int, float]:
        """By how much the best mean can be expected to rise with one more fold of each trial than are trained now.

        Args:
            noise: the variance of a fold around its trial's level.
        """
        own, best = slice(len(self.numbers)), np.argsort(self.means, kind="stable")[-RIVALS:]
        variances = np.diag(self.once_done)[own]
        rises = expected_rise(self.means[best], self.means[own], self.once_done[own, best], variances, noise)
        return dict(zip(self.numbers, map(float, rises), strict=True))
