"""What the curves of trials say of their levels, whatever their knobs promise: a reading of each, and its variance.

The knobs are what a sampler's process learns from. Where they had a say in the readings already, it would believe
them twice.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foldrace.search.race.fold_offsets import MIN_DEGREES_OF_FREEDOM, MIN_VARIANCE
from foldrace.search.race.forecast import Forecast, ForecastModel
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.storage.tables import WHOLE
from foldrace.trainer.arrays import FloatArray

REPORTED_DEVIATION = 0.01  # of the value of a trial that was added by hand, where no other trial tells the noise


@dataclass(frozen=True, eq=False)
class Readings:
    """Of each trial's level: values and variances of their noise, (trials,); infinite of one that has shown nothing.

    Attributes:
        fold_variance: of one fold's end around its trial's level; NaN while it is not known.
        noises: (trials, folds), the variance of the noise with which the end of each fold was read, 0 of one that is
            done, infinite of one that was not begun; None: no folds were read.
    """

    values: FloatArray
    variances: FloatArray
    fold_variance: float = math.nan
    noises: FloatArray | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """(trials,), whether a trial has shown something."""
        known: NDArray[np.bool_] = np.isfinite(self.variances)
        return known

    def variances_once_done(self, training: Sequence[Collection[int]]) -> FloatArray:
        """(trials,), the variance of the noise of each reading once the folds that are trained now are done.

        A trial that has shown nothing has shown one fold by then, at least.

        Args:
            training: of the first trials, the folds of each that are trained now.
        """
        usual = float(np.median(self.variances[self.known])) if math.isnan(self.fold_variance) else self.fold_variance
        fold = max(usual, MIN_VARIANCE)
        precisions = np.where(self.known, 1 / self.variances, 1 / fold)
        for row, folds in enumerate(training):
            if folds and self.noises is not None:
                noises = self.noises[row]
                now = noises[noises > 0][:1] if WHOLE in folds else noises[sorted(folds)]
                added = float((1 / fold - 1 / (now + fold)).sum())
                precisions[row] = added + (precisions[row] if self.known[row] else 0.0)
        variances: FloatArray = 1 / precisions
        return variances

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
        return replace(self, values=np.where(reported, values, self.values), variances=variances)


def read_levels(trials: Sequence[LearningCurves]) -> Readings:
    """Readings of trials that ended or that run, in whatever order their folds are trained.

    The noise of a fold's end is pooled over all trials: five folds of one trial tell next to nothing of it.
    """
    blind = [replace(trial, knobs={}) for trial in trials]
    if not any(trial.folds_done for trial in blind):
        return Readings(np.zeros(len(blind)), np.full(len(blind), np.inf))
    model = ForecastModel.fit(blind)
    values, variances, noises = zip(*(_read_level(trial, model) for trial in blind), strict=True)
    is_told = model.degrees_of_freedom >= MIN_DEGREES_OF_FREEDOM
    fold_variance = model.fold_variance if is_told else math.nan
    return Readings(np.array(values), np.array(variances), fold_variance, np.array(noises))


def _read_level(trial: LearningCurves, model: ForecastModel) -> tuple[float, float, FloatArray]:
    """Each fold is a reading of the trial's level, as far as it went; they count by their precision.

    Returns:
        the reading, its variance, and that of the noise in each fold.
    """
    variance = max(model.prior.noise + float(model.end_variances[0]), model.fold_variance)
    anyone = Forecast(model.prior.mean, variance)
    ends, noises = model.observe_ends(trial, anyone)
    precisions = 1 / np.maximum(noises + model.fold_variance, MIN_VARIANCE)
    total = float(precisions.sum())
    return (float(ends @ precisions) / total, 1 / total, noises) if total > 0 else (anyone.mean, math.inf, noises)
