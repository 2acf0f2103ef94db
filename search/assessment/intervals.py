"""Intervals of a mean over folds, which share their training rows.

The scores of K folds are not independent: each pair of folds is trained on mostly the same rows. Their variance alone
says too little of how the mean would differ on other data. Nadeau and Bengio 2003, "Inference for the Generalization
Error", section 3: the variance of the mean is (1/J + test rows / training rows) times that of the J scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

COVERAGE = 0.95
NORMAL = NormalDist().inv_cdf((1 + COVERAGE) / 2)


@dataclass(frozen=True)
class Interval:
    """A score and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f}, 95 % interval {self.low:.3f} to {self.high:.3f}"


def nadeau_bengio_variance(variance: float, scores: int, folds: int) -> float:
    """The variance of a mean of scores.

    Args:
        variance: of the scores around their mean.
        scores: how many; of several splits, all of them.
        folds: of each split: a fold tests one row for each `folds - 1` that it trains on.
    """
    return variance * (1 / scores + 1 / (folds - 1))


def kfold_interval(scores: Sequence[float], folds: int) -> Interval:
    """The interval of the mean of at least two scores, by nothing but themselves: Student's t, one degree fewer."""
    of_mean = nadeau_bengio_variance(variance(scores), len(scores), folds)
    return student_interval(fmean(scores), of_mean, len(scores) - 1)


def student_interval(mean: float, variance: float, degrees_of_freedom: int, known: float = 0.0) -> Interval:
    """The interval around a mean that lies between 0 and 1.

    Args:
        variance: of the mean, as it was estimated by so many degrees of freedom.
        known: a variance of the mean that needs no estimate, beside it. The sum has more degrees of freedom
            (Satterthwaite 1946).
    """
    whole = variance + known
    degrees = degrees_of_freedom * (whole / variance) ** 2 if variance else math.inf
    half = student_deviate(degrees) * math.sqrt(whole)
    return Interval(mean, max(mean - half, 0.0), min(mean + half, 1.0))


def student_deviate(degrees_of_freedom: float) -> float:
    """The deviate of Student's t within which 95 % lie, to three parts in ten thousand.

    By the normal one (Abramowitz and Stegun 1964, 26.7.5); with few degrees of freedom by scipy, which takes `status`
    a fifth of a second to import.
    """
    if degrees_of_freedom < 5:
        from scipy.special import stdtrit  # type: ignore[import-untyped]

        return float(stdtrit(degrees_of_freedom, (1 + COVERAGE) / 2))
    z = NORMAL
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term * (1 / degrees_of_freedom) ** power for power, term in enumerate(terms, start=1))


def row_variance(accuracy: float, rows: int) -> float:
    """The variance of an accuracy by which rows were drawn; never zero (Agresti and Coull 1998: four rows more)."""
    share = (accuracy * rows + 2) / (rows + 4)
    return share * (1 - share) / rows
