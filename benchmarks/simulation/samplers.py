"""What a simulated study samples its trials with."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from benchmarks.recordings import EVALUATIONS
from benchmarks.simulation.prior import PriorStudy, Trend, most_credible
from foldrace.search.race.learning_curves import LearningCurves, read_learning_curves
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.acquisition import Describe
from foldrace.search.sampler.cube import Cube
from foldrace.search.sampler.gaussian_process import GaussianProcess, Inputs
from foldrace.search.sampler.gp import STARTUP_TRIALS, GpSampler
from foldrace.search.sampler.history import History
from foldrace.search.sampler.readings import Readings
from foldrace.search.sampler.sampling import Sampler
from foldrace.trainer.arrays import FloatArray

if TYPE_CHECKING:
    from benchmarks.simulation.studies import MemoryHistory

APART = 0.2  # the prior's second configuration lies so far from its first, in each knob on average (root mean square)
LOOKED_AT = 4096  # configurations, among which the prior's best is taken


class StudySampler(Protocol):
    """Samples the trials of one study."""

    def sample(self, trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
        """A value for each knob."""


MakeSampler = Callable[["MemoryHistory", int], StudySampler]  # of a study with a seed


class MemoryCurves:
    """The curves of trials in memory; those of trials that ended are kept."""

    def __init__(self, folds: int) -> None:
        self._folds = folds
        self._ended: dict[int, LearningCurves] = {}

    def read(self, trials: Sequence[FrozenTrial]) -> list[LearningCurves]:
        """The curves of each of the trials."""
        return [self._ended.get(trial.number) or self._read(trial) for trial in trials]

    def _read(self, trial: FrozenTrial) -> LearningCurves:
        curves = read_learning_curves(trial, self._folds, EVALUATIONS)
        if trial.state.is_finished():
            self._ended[trial.number] = curves
        return curves


def tpe(history: "MemoryHistory", seed: int) -> StudySampler:
    """The product's TPE."""
    return Sampler(cast("History", history), seed)


def gp(folds: int) -> MakeSampler:
    """The product's Gaussian process, for studies of so many folds."""
    return lambda history, seed: Sampler(cast("History", history), seed, GpSampler(MemoryCurves(folds)))


def gp_with_priors(folds: int, priors: Sequence[PriorStudy]) -> MakeSampler:
    """The same with what earlier studies promise."""

    def make(history: "MemoryHistory", seed: int) -> StudySampler:
        trends = [trend for prior in priors for trend in prior.trends(history.space)]
        return Sampler(cast("History", history), seed, PriorSampler(MemoryCurves(folds), trends))

    return make


def stock(sampler: Callable[[], BaseSampler]) -> MakeSampler:
    """A sampler of Optuna's, one for the whole study."""
    return lambda history, seed: _Stock(history, sampler())


class _Stock:
    def __init__(self, history: "MemoryHistory", sampler: BaseSampler) -> None:
        self._study = optuna.load_study(study_name=history.study_name, storage=history, sampler=sampler)
        self._sampler = sampler

    def sample(self, trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
        self._sampler.before_trial(self._study, trial)
        values = self._sampler.sample_relative(self._study, trial, space)
        rest = {knob: d for knob, d in space.items() if knob not in values}
        return values | {k: self._sampler.sample_independent(self._study, trial, k, d) for k, d in rest.items()}


class PriorSampler(GpSampler):
    """Takes half of the first trials from earlier studies, and their trends for as long as they explain this one."""

    def __init__(self, curves: MemoryCurves, trends: Sequence[Trend]) -> None:
        super().__init__(curves)
        self._trends = trends

    def startup(self, cube: Cube, tried: FloatArray, number: int, seed: int) -> FloatArray:
        """The first ones where the trends together promise most, away from what was tried."""
        if not self._trends or number >= STARTUP_TRIALS // 2:
            return super().startup(cube, tried, number, seed)
        positions = cube.snapped(np.random.default_rng(seed).random((LOOKED_AT, cube.knobs)))
        promised = np.mean([trend(positions) for trend in self._trends], axis=0)
        for row in tried:
            promised[np.sqrt(((positions - row) ** 2).mean(axis=1)) < APART] = -np.inf
        best: FloatArray = positions[int(promised.argmax())]
        return best

    def learn(self, cube: Cube, tried: FloatArray, readings: Readings) -> tuple[GaussianProcess, Describe]:
        process, trend = most_credible(cube.inputs(tried), tried, readings, self._trends)

        def describe(positions: FloatArray) -> Inputs:
            plain = cube.inputs(positions)
            return plain if trend is None else Inputs(plain.columns, plain.knobs, trend(positions))

        return process, describe
