"""Draws by expected improvement over a Gaussian process, from what all trials have shown so far.

A draw is determined by the study's seed, the trial's number and the history, and by nothing else.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc  # type: ignore[import-untyped]

from benchmarks.recordings import EVALUATIONS
from benchmarks.simulation.acquisition import COST_POWER, propose
from benchmarks.simulation.cube import Cube
from benchmarks.simulation.gaussian_process import GaussianProcess, Inputs
from benchmarks.simulation.prior import PriorStudy, Trend, most_credible
from benchmarks.simulation.readings import read_levels
from foldrace.search.race.learning_curves import LearningCurves, read_learning_curves
from foldrace.search.race.space import SearchSpace
from foldrace.trainer.arrays import FloatArray

if TYPE_CHECKING:
    from benchmarks.simulation.studies import MemoryHistory

STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
SPREAD_OUT = 4  # trials, before the process draws; with a prior, half of them are drawn by the prior
APART = 0.2  # the prior's second configuration lies so far from its first, in each knob on average (root mean square)


class GpSampler:
    """One for a study: it keeps what trials that ended have shown."""

    def __init__(
        self,
        folds: int,
        priors: Sequence[PriorStudy] = (),
        cost_power: float = COST_POWER,
        spread_out: int = SPREAD_OUT,
        centre: bool = True,
    ) -> None:
        self._folds, self._priors, self._cost_power = folds, priors, cost_power
        self._spread_out, self._centre = spread_out, centre
        self._ended: dict[int, LearningCurves] = {}
        self._trends: list[Trend] | None = None

    def draw(self, history: "MemoryHistory", trial: FrozenTrial, space: SearchSpace, seed: int) -> dict[str, Any]:
        """A value for each knob of the space."""
        cube = Cube(space)
        trends = self._trends_over(space)
        trials = history.get_all_trials(history.id, deepcopy=False, states=STATES)
        trials = [t for t in trials if t.number != trial.number and cube.holds(t.params)]
        tried = np.array([cube.position(t.params) for t in trials]).reshape(len(trials), cube.knobs)
        if trends and trial.number < self._spread_out // 2:
            return cube.params(self._by_prior(trends, cube, tried, seed))
        readings = read_levels([self._curves(t) for t in trials])
        known = np.isfinite(readings.variances)
        if trial.number < self._spread_out or known.sum() < 2:
            return cube.params(self._spread(cube, trial.number, seed))
        process, trend = most_credible(
            cube.inputs(tried[known]), tried[known], readings.values[known], readings.variances[known], trends
        )
        process = _with_pending(process, _described(cube, tried, trend), readings.values, readings.variances)
        random = np.random.default_rng([32, seed, trial.number])
        found = propose(process, cube, lambda at: _described(cube, at, trend), tried, random, self._cost_power)
        return cube.params(found.position)

    def _trends_over(self, space: SearchSpace) -> list[Trend]:
        if self._trends is None:
            self._trends = [trend for prior in self._priors for trend in prior.trends(space)]
        return self._trends

    def _curves(self, trial: FrozenTrial) -> LearningCurves:
        if trial.number in self._ended:
            return self._ended[trial.number]
        found = read_learning_curves(trial, self._folds, EVALUATIONS)
        if trial.state.is_finished():
            self._ended[trial.number] = found
        return found

    def _spread(self, cube: Cube, number: int, seed: int) -> FloatArray:
        """The middle first, which says most of everywhere else; then points that fill the cube evenly (Sobol)."""
        if number == 0 and self._centre:
            return np.full(cube.knobs, 0.5)
        sobol = qmc.Sobol(cube.knobs, seed=np.random.default_rng([31, seed]))
        if number:
            sobol.fast_forward(number)
        found: FloatArray = sobol.random(1)[0]
        return found

    def _by_prior(self, trends: Sequence[Trend], cube: Cube, tried: FloatArray, seed: int) -> FloatArray:
        """Where the priors together promise most, away from what was tried."""
        random = np.random.default_rng([33, seed])
        positions = cube.snapped(random.random((4096, cube.knobs)))
        promised = np.mean([trend(positions) for trend in trends], axis=0)
        for row in tried:
            promised[np.sqrt(((positions - row) ** 2).mean(axis=1)) < APART] = -np.inf
        best: FloatArray = positions[int(promised.argmax())]
        return best


def _described(cube: Cube, positions: FloatArray, trend: Trend | None) -> Inputs:
    plain = cube.inputs(positions)
    return plain if trend is None else Inputs(plain.columns, plain.knobs, trend(positions))


def _with_pending(
    process: GaussianProcess, inputs: Inputs, values: FloatArray, variances: FloatArray
) -> GaussianProcess:
    """A trial that runs and has shown nothing counts as if it had shown what is expected: nobody draws it again."""
    known = np.isfinite(variances)
    if known.all():
        return process
    means, _ = process.at(inputs)
    usual = float(np.median(variances[known]))
    return process.given(inputs, np.where(known, values, means), np.where(known, variances, usual))
