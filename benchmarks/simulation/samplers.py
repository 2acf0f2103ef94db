"""What a simulated study draws its trials with."""

from typing import TYPE_CHECKING, Any, Protocol, cast

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from foldrace.search.race import sampling
from foldrace.search.race.history import History
from foldrace.search.race.space import SearchSpace

if TYPE_CHECKING:
    from benchmarks.simulation.studies import MemoryHistory


class Sampler(Protocol):
    def draw(self, history: "MemoryHistory", trial: FrozenTrial, space: SearchSpace, seed: int) -> dict[str, Any]:
        """A value for each knob."""


class Tpe:
    """The product's TPE."""

    def draw(self, history: "MemoryHistory", trial: FrozenTrial, space: SearchSpace, seed: int) -> dict[str, Any]:
        return sampling.sample(cast("History", history), trial, space, seed)


class Stock:
    """A sampler of Optuna's, one for the whole study."""

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler

    def draw(self, history: "MemoryHistory", trial: FrozenTrial, space: SearchSpace, seed: int) -> dict[str, Any]:
        study = optuna.load_study(study_name=history.study_name, storage=history, sampler=self._sampler)
        self._sampler.before_trial(study, trial)
        values = self._sampler.sample_relative(study, trial, space)
        rest = {knob: d for knob, d in space.items() if knob not in values}
        return values | {k: self._sampler.sample_independent(study, trial, k, d) for k, d in rest.items()}
