"""What the curves of trials say of their levels, whatever their knobs promise: a reading of each, and its variance.

The knobs are what a sampler's process learns from. Where they had a say in the readings already, it would believe
them twice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foldrace.search.race.fold_offsets import MIN_DEGREES_OF_FREEDOM
from foldrace.search.race.forecast import Forecast, ForecastModel
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.trainer.arrays import FloatArray

REPORTED_DEVIATION = 0.01  # of the value of a trial that was added by hand, where no other trial tells the noise


@dataclass(frozen=True, eq=False)
class Readings:
    """Of each trial's level: values and variances of their noise, (trials,); infinite of one that has shown nothing.

    `fold_variance` is that of one fold's end around its trial's level; NaN while it is not known.
    """

    values: FloatArray
    variances: FloatArray
    fold_variance: float = math.nan

    def of(self, trials: NDArray[np.bool_]) -> "Readings":
        return Readings(self.values[trials], self.variances[trials], self.fold_variance)

    def with_reported(self, values: FloatArray) -> "Readings":
        """The readings, and of trials that have shown nothing the `values` they ended with; NaN: none.

        Nobody knows the noise of such a value: it counts as that of the trial which is known best.
        """
        reported = np.isinf(self.variances) & np.isfinite(values)
        least = min(self.variances, default=np.inf)
        variance = least if np.isfinite(least) else REPORTED_DEVIATION**2
        variances = np.where(reported, variance, self.variances)
        return Readings(np.where(reported, values, self.values), variances, self.fold_variance)


def read_levels(trials: Sequence[LearningCurves]) -> Readings:
    """Readings of trials that ended or that run, in whatever order their folds are trained.

    The noise of a fold's end is pooled over all trials: five folds of one trial tell next to nothing of it.
    """
    blind = [replace(trial, knobs={}) for trial in trials]
    if not any(trial.folds_done for trial in blind):
        return Readings(np.zeros(len(blind)), np.full(len(blind), np.inf))
    model = ForecastModel.fit(blind)
    found = [_read_level(trial, model) for trial in blind]
    values, variances = np.array(found).reshape(-1, 2).T
    is_told = model.degrees_of_freedom >= MIN_DEGREES_OF_FREEDOM
    return Readings(values, variances, model.fold_variance if is_told else math.nan)


def _read_level(trial: LearningCurves, model: ForecastModel) -> tuple[float, float]:
    """Each fold is a reading of the trial's level, as far as it went; they count by their precision."""
    variance = max(model.prior.noise + float(model.end_variances[0]), model.fold_variance)
    anyone = Forecast(model.prior.mean, variance)
    ends, noises = model.observe_ends(trial, anyone)
    precisions = 1 / np.maximum(noises + model.fold_variance, 1e-12)
    total = float(precisions.sum())
    return (float(ends @ precisions) / total, 1 / total) if total > 0 else (anyone.mean, math.inf)
