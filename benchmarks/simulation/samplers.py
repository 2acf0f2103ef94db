"""What a simulated study samples its trials with."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from benchmarks.recordings import EVALUATIONS
from foldrace.search.race.learning_curves import LearningCurves, read_learning_curves
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.gp import GpSampler, Posterior, Sample
from foldrace.search.sampler.history import History
from foldrace.search.sampler.sampling import Sampler
from foldrace.search.sampler.trends import NO_PRIORS, Priors

if TYPE_CHECKING:
    from benchmarks.simulation.played import MemoryHistory


class StudySampler(Protocol):
    """Samples the trials of one study."""

    def sample(self, trial: FrozenTrial, space: SearchSpace) -> Sample:
        """A value for each knob."""

    def believe(self, space: SearchSpace) -> Posterior | None:
        """What the trials let believe; None while too few have shown something."""


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


def gp(folds: int, priors: Priors = NO_PRIORS) -> MakeSampler:
    """The product's Gaussian process, for studies of so many folds, with what is known beforehand."""
    return lambda history, seed: Sampler(cast("History", history), seed, GpSampler(MemoryCurves(folds), lambda: priors))


def stock(sampler: Callable[[], BaseSampler]) -> MakeSampler:
    """A sampler of Optuna's, one for the whole study."""
    return lambda history, seed: _Stock(history, sampler())


class _Stock:
    def __init__(self, history: "MemoryHistory", sampler: BaseSampler) -> None:
        self._study = optuna.load_study(study_name=history.study_name, storage=history, sampler=sampler)
        self._sampler = sampler

    def sample(self, trial: FrozenTrial, space: SearchSpace) -> Sample:
        self._sampler.before_trial(self._study, trial)
        values = self._sampler.sample_relative(self._study, trial, space)
        rest = {knob: d for knob, d in space.items() if knob not in values}
        values |= {k: self._sampler.sample_independent(self._study, trial, k, d) for k, d in rest.items()}
        return Sample(values)

    def believe(self, space: SearchSpace) -> Posterior | None:
        """Nothing that it tells."""
        return None
