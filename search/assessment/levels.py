"""What is believed of the levels of trials: the distribution that they come from, and the level of each given that.

A reading that is high was, as a rule, lucky. How lucky is told by the other trials: where many have nearly the same
level, the highest reading is mostly noise (Efron and Morris 1975, "Data Analysis Using Stein's Estimator and Its
Generalizations"). The levels of a search are not normal: many lie close below the best one, some far away. So their
distribution is a mixture of normals, fitted by maximum likelihood, which is a concave problem (Stephens 2017, "False
discovery rates: a new deal").
"""

from dataclasses import dataclass

import numpy as np

from foldrace.search.race.fold_offsets import MIN_VARIANCE
from foldrace.trainer.arrays import FloatArray

FINEST = 0.5  # between the two highest centres of normals, in standard deviations of the noise
GROWTH = 1.2  # of the distance from one centre to the next below: near the best reading it matters most
WIDTHS = (0.5, 1.0, 2.0, 4.0)  # the normals' standard deviations, in distances to the next centre
ROUNDS = 200  # of expectation maximisation
PSEUDO_TRIALS = 1.0  # spread over all normals: a few trials do not tell that levels are lumped


@dataclass(frozen=True, eq=False)
class LevelPrior:
    """The distribution of the levels of a study's trials: a mixture of normals, each (normals,)."""

    weights: FloatArray
    means: FloatArray
    variances: FloatArray

    @classmethod
    def fit(cls, values: FloatArray, noises: FloatArray) -> "LevelPrior":
        """The prior under which the readings are likeliest.

        Args:
            values, noises: (trials,), readings and the variances of their noise; at least one.
        """
        centres, gaps = _centres(values, FINEST * float(np.sqrt(max(noises.min(), MIN_VARIANCE))))
        means, variances = np.repeat(centres, len(WIDTHS)), np.outer(gaps, WIDTHS).ravel() ** 2
        likelihoods = np.exp(_log_likelihoods(values, noises, means, variances))
        weights = np.full(len(means), 1 / len(means))
        for _ in range(ROUNDS):
            shares = likelihoods * weights
            shares /= shares.sum(axis=1, keepdims=True)
            weights = (shares.sum(axis=0) + PSEUDO_TRIALS / len(means)) / (len(values) + PSEUDO_TRIALS)
        return cls(weights, means, variances)

    def posterior(self, values: FloatArray, noises: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and variance of each trial's level, given its reading."""
        noise, precision = noises[:, None], 1 / noises[:, None] + 1 / self.variances
        shares = np.exp(_log_likelihoods(values, noises, self.means, self.variances)) * self.weights
        shares /= shares.sum(axis=1, keepdims=True)
        means = (values[:, None] / noise + self.means / self.variances) / precision
        mean = (shares * means).sum(axis=1)
        variance = (shares * (1 / precision + (means - mean[:, None]) ** 2)).sum(axis=1)
        return mean, variance


def _centres(values: FloatArray, finest: float) -> tuple[FloatArray, FloatArray]:
    """Centres from the highest reading down to the lowest, and the distance of each to the next."""
    reach = float(np.ptp(values)) / finest
    steps = GROWTH ** np.arange(1 + np.ceil(np.log(1 + reach * (GROWTH - 1)) / np.log(GROWTH)))
    gaps = finest * steps
    return float(values.max()) - np.concatenate([[0.0], np.cumsum(gaps[:-1])]), gaps


def _log_likelihoods(values: FloatArray, noises: FloatArray, means: FloatArray, variances: FloatArray) -> FloatArray:
    """(trials, normals), of a reading under each normal, less the largest of the trial."""
    total = noises[:, None] + variances
    found: FloatArray = -0.5 * ((values[:, None] - means) ** 2 / total + np.log(total))
    found -= found.max(axis=1, keepdims=True)
    return found
