"""What a study's whole trials teach about one that is still running: how much of a fold's end shows at each point, and
how far one training lies from its trial's level; and from that, where the running trial will end.

The model: a trial's value in a fold is the mean of the whole trials there, plus the trial's own level, plus an error
of variance `scatter`. Nothing is assumed about the levels: what another trial reached says little about this one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.evidence import Evidence

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """Where a trial will end: the mean and the standard deviation of its value, in the units of the metric."""

    mean: float
    deviation: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the whole trials of a study teach.

    Attributes:
        incumbent: the whole trial with the highest value; the first of several.
        cells: (folds, evaluations), the mean of the whole trials, best so far.
        visible: (evaluations,), the part of a final difference that shows at this point, on average.
        noise: (evaluations,), the variance of a final difference as it is read off at this point; inf: nothing shows.
        scatter: the variance of one training around its trial's level.
        freedom: the degrees of freedom of `scatter`.
    """

    incumbent: Evidence
    cells: FloatArray
    visible: FloatArray
    noise: FloatArray
    scatter: float
    freedom: int

    def forecast(
        self, finished: Sequence[float], fold: int, index: int, best: float, scatter: float | None = None
    ) -> Forecast | None:
        """Where a trial will end; None while nothing of that shows.

        Args:
            finished: its values in the folds before `fold`.
            index, best: it stands at `best` in this evaluation of `fold`.
            scatter: its own, where more is known than on average.
        """
        scatter = self.scatter if scatter is None else scatter
        ends = self.cells[:, -1]
        noise = float(self.noise[index])
        shown = (best - float(self.cells[fold, index])) / float(self.visible[index])
        known = [value - float(end) for value, end in zip(finished, ends, strict=False)]
        if not known and math.isinf(noise):
            return None
        mean, variance = _expect(known, shown, noise, len(ends), scatter)
        return Forecast(float(ends.mean()) + mean, math.sqrt(variance))


def calibrate(whole: Sequence[Evidence]) -> Calibration:
    """Learn from the whole trials of a study, at least one; from a single one, only how far its folds scatter."""
    best = np.stack([trial.best for trial in whole])
    trials, folds, _ = best.shape
    cells: FloatArray = best.mean(axis=0)
    visible, noise = _movement(best - cells)
    ends = best[:, :, -1] - (cells[:, -1] if trials > 1 else 0.0)
    freedom = max(trials - 1, 1) * (folds - 1)
    left = float(((ends - ends.mean(axis=1, keepdims=True)) ** 2).sum())
    incumbent = max(whole, key=lambda trial: (trial.value, -trial.number))
    return Calibration(incumbent, cells, visible, noise, left / freedom if freedom else 0.0, max(freedom, 1))


def _movement(deviations: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Regress what shows at each point on the end of its fold; deviations are (trials, folds, evaluations)."""
    trials, folds, evaluations = deviations.shape
    ends = deviations[:, :, -1:]
    total = float((ends**2).sum())
    visible, noise = np.ones(evaluations), np.full(evaluations, math.inf)
    noise[-1] = 0.0
    freedom = folds * (trials - 1) - 1
    if total <= 0 or freedom < 1:
        return visible, noise
    slope = (deviations * ends).sum(axis=(0, 1)) / total
    left = ((deviations - slope * ends) ** 2).sum(axis=(0, 1)) / freedom
    shows = slope > np.sqrt(left / total)  # by more than its own standard error
    visible[shows], noise[shows] = slope[shows], left[shows] / slope[shows] ** 2
    return visible, noise


def _expect(known: Sequence[float], shown: float, noise: float, folds: int, scatter: float) -> tuple[float, float]:
    """Mean and variance of a trial's final deviation, from folds that are `known` and one of which `shown` is seen.

    The conditional distribution of a Gaussian in two unknowns, the trial's level and the end of the running fold;
    before anything is known, the level may be anything.
    """
    later = folds - len(known) - 1
    if not known:
        return shown, noise + scatter * later / folds
    level, doubt = sum(known) / len(known), scatter / len(known)
    seen = doubt + scatter + noise
    surprise = shown - level if math.isfinite(noise) else 0.0
    gain, level_gain = ((doubt + scatter) / seen, doubt / seen) if seen > 0 else (1.0, 0.0)
    end, end_variance = level + gain * surprise, (doubt + scatter) * (1 - gain)
    covariance, doubt = doubt * (1 - gain), doubt * (1 - level_gain)
    level += level_gain * surprise
    variance = end_variance + later**2 * doubt + 2 * later * covariance + later * scatter
    return (sum(known) + end + later * level) / folds, max(variance, 0.0) / folds**2
