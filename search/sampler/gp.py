"""Values of a new trial's knobs by expected improvement over a Gaussian process, from what all trials have shown."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial
from scipy.stats import qmc  # type: ignore[import-untyped]

from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.acquisition import Describe, propose
from foldrace.search.sampler.cube import Cube
from foldrace.search.sampler.curves import CurveReader
from foldrace.search.sampler.gaussian_process import GaussianProcess, Inputs, fit
from foldrace.search.sampler.readings import Readings, read_levels
from foldrace.trainer.arrays import FloatArray

STARTUP_TRIALS = 4  # spread out over the whole space, before the process is asked
FEWEST_READINGS = 2  # trials that have shown something, before the process is asked


class GpSampler:
    """Samples trials of one study: determined by its seed, the trial's number and the history, and by nothing else."""

    def __init__(self, curves: CurveReader) -> None:
        self._curves = curves

    def sample(self, trials: Sequence[FrozenTrial], number: int, space: SearchSpace, seed: int) -> dict[str, Any]:
        """A value for each knob of the space.

        Args:
            trials: that ended or that run; without `number`, the one to be sampled.
        """
        cube = Cube(space)
        others = [trial for trial in trials if trial.number != number and cube.holds(trial.params)]
        tried = np.array([cube.position(trial.params) for trial in others]).reshape(len(others), cube.knobs)
        if number < STARTUP_TRIALS:
            return cube.params(self.startup(cube, tried, number, seed))
        readings = read_levels(self._curves.read(others))
        known = np.isfinite(readings.variances)
        if known.sum() < FEWEST_READINGS:
            return cube.params(spread_out(cube, number, seed))
        process, describe = self.learn(cube, tried[known], readings.of(known))
        process = _with_pending(process, describe(tried), readings)
        return cube.params(propose(process, cube, describe, tried, np.random.default_rng([seed, number])))

    def startup(self, cube: Cube, tried: FloatArray, number: int, seed: int) -> FloatArray:
        """(knobs,), the position of one of the first trials."""
        return spread_out(cube, number, seed)

    def learn(self, cube: Cube, tried: FloatArray, readings: Readings) -> tuple[GaussianProcess, Describe]:
        """The process that has seen what the trials have shown, and how it takes positions."""
        return fit(cube.inputs(tried), readings.values, readings.variances), cube.inputs


def spread_out(cube: Cube, number: int, seed: int) -> FloatArray:
    """(knobs,): the middle first, which says most of everywhere else; then points that fill the cube (Sobol 1967)."""
    if number == 0:
        return np.full(cube.knobs, 0.5)
    sobol = qmc.Sobol(cube.knobs, rng=np.random.default_rng(seed))
    sobol.fast_forward(number)
    position: FloatArray = sobol.random(1)[0]
    return position


def _with_pending(process: GaussianProcess, tried: Inputs, readings: Readings) -> GaussianProcess:
    """A trial that runs and has shown nothing counts as if it had shown what is expected: no other is sampled there."""
    known = np.isfinite(readings.variances)
    if known.all():
        return process
    means, _ = process.at(tried)
    usual = float(np.median(readings.variances[known]))
    return process.given(tried, np.where(known, readings.values, means), np.where(known, readings.variances, usual))
