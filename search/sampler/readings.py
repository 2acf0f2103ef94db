"""What the curves of trials say of their levels, whatever their knobs promise: a reading of each, and its variance.

The knobs are what a sampler's process learns from. Where they had a say in the readings already, it would believe
them twice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foldrace.search.race.forecast import Forecast, ForecastModel
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.trainer.arrays import FloatArray

_NO_KNOBS = np.empty(0)


@dataclass(frozen=True, eq=False)
class Readings:
    """Of each trial's level: values and variances of their noise, (trials,); infinite of one that has shown nothing."""

    values: FloatArray
    variances: FloatArray

    def of(self, trials: NDArray[np.bool_]) -> "Readings":
        return Readings(self.values[trials], self.variances[trials])


def read_levels(trials: Sequence[LearningCurves]) -> Readings:
    """Readings of trials that ended or that run, in whatever order their folds are trained.

    The noise of a fold's end is pooled over all trials: five folds of one trial tell next to nothing of it.
    """
    blind = [replace(trial, knobs={}) for trial in trials]
    if not any(trial.folds_done for trial in blind):
        return Readings(np.zeros(len(blind)), np.full(len(blind), np.inf))
    model = ForecastModel.fit(blind)
    found = [_read_level(trial, model) for trial in blind]
    return Readings(np.array([value for value, _ in found]), np.array([variance for _, variance in found]))


def _read_level(trial: LearningCurves, model: ForecastModel) -> tuple[float, float]:
    """Each fold is a reading of the trial's level, as far as it went; they count by their precision."""
    variance = max(model.prior.noise + float(model.end_variances[0]), model.fold_variance)
    anyone = Forecast(model.prior.mean, variance)
    values, precisions = [], []
    for curve, offset in zip(trial.best, model.fold_offsets, strict=True):
        seen = np.flatnonzero(np.isfinite(curve))
        if len(seen):
            value, noise = model.read_end(float(curve[seen[-1]] - offset), int(seen[-1]), _NO_KNOBS, anyone)
            values.append(value)
            precisions.append(1 / max(noise + model.fold_variance, 1e-12))
    total = sum(precisions)
    if total <= 0:
        return anyone.mean, math.inf
    return float(np.dot(values, precisions)) / total, 1 / total
