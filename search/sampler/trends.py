"""What earlier studies promise: processes fitted to their trials, as trends of a new study's process.

value = a + b * trend(knobs) + residual, b around 1 and not negative. A trend counts only while it explains the new
study better than none does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.cube import Cube, from_units, to_units
from foldrace.search.sampler.gaussian_process import GaussianProcess, Inputs, fit
from foldrace.search.sampler.readings import Readings
from foldrace.trainer.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class PriorStudy:
    """The trials of an earlier study with other data, another model or other fixed knobs.

    Attributes:
        name: as the new study calls it.
        space: its knobs.
        params: of each trial.
        readings: of each trial's level.
        fixed: the knobs of `space` that have one value in the new study.
    """

    name: str
    space: SearchSpace
    params: Sequence[Mapping[str, Any]]
    readings: Readings
    fixed: Mapping[str, Any]

    def reversed(self) -> "PriorStudy":
        """The same study with its best trials at the bottom."""
        return replace(self, readings=Readings(-self.readings.values, self.readings.variances))

    def trends(self, space: SearchSpace) -> list["Trend"]:
        """Trends over a new space: by the knobs' values, and where the ranges differ also by their places in them."""
        shared = [knob for knob, d in self.space.items() if knob in space and is_alike(d, space[knob])]
        if not shared:
            return []
        cube = Cube(self.space.only([*shared, *self.fixed]))
        positions = np.array([cube.position(params) for params in self.params])
        process = fit(cube.inputs(positions), self.readings.values, self.readings.variances)
        columns = tuple(list(space).index(knob) for knob in shared)
        old, new = tuple(self.space[knob] for knob in shared), tuple(space[knob] for knob in shared)
        held = tuple(Cube(SearchSpace({knob: self.space[knob] for knob in self.fixed})).position(self.fixed))
        by_value = Trend(self.name, process, cube, columns, new, old, held)
        return [by_value] if old == new else [by_value, replace(by_value, old=new)]


@dataclass(frozen=True, eq=False)
class TakenOver:
    """A trial of another run that is evidence itself: of the same data, folds, model and fixed knobs."""

    params: Mapping[str, Any]
    curves: LearningCurves


@dataclass(frozen=True, eq=False)
class Priors:
    """All that is known of a study beforehand."""

    taken_over: Sequence[TakenOver] = ()
    studies: Sequence[PriorStudy] = ()


NO_PRIORS = Priors()


@dataclass(frozen=True, eq=False)
class Trend:
    """What a process fitted to an earlier study expects, less its mean: in the metric's units, around 0.

    Attributes:
        name: of the earlier study.
        columns: of the new space, of the knobs that both have.
        new, old: the distributions of these in the new space, and those that the process measures places by.
        held: the positions of further knobs, which the new study has fixed.
    """

    name: str
    process: GaussianProcess
    cube: Cube
    columns: tuple[int, ...]
    new: tuple[BaseDistribution, ...]
    old: tuple[BaseDistribution, ...]
    held: tuple[float, ...]

    def __call__(self, positions: FloatArray) -> FloatArray:
        """(rows,), at (rows, knobs) of the new space."""
        there = [
            units if new == old else to_units(from_units(units, new), old)
            for units, new, old in zip(positions.T[list(self.columns)], self.new, self.old, strict=True)
        ]
        there += [np.full(len(positions), place) for place in self.held]
        means, _ = self.process.at(self.cube.inputs(np.stack(there, axis=1)))
        return means - self.process.mean


def average(trends: Sequence[Trend], positions: FloatArray) -> FloatArray:
    """(rows,), what several trends say together at (rows, knobs)."""
    mean: FloatArray = np.mean([trend(positions) for trend in trends], axis=0)
    return mean


def most_credible(
    inputs: Inputs, positions: FloatArray, readings: Readings, trends: Sequence[Trend]
) -> tuple[GaussianProcess, Sequence[Trend]]:
    """The process that explains the rows best, and its trends: none, one of them, or all by their average."""
    found: list[tuple[GaussianProcess, Sequence[Trend]]] = [(fit(inputs, readings.values, readings.variances), [])]
    for together in [[trend] for trend in trends] + ([list(trends)] if len(trends) > 1 else []):
        with_trend = Inputs(inputs.columns, inputs.knobs, average(together, positions))
        process = fit(with_trend, readings.values, readings.variances)
        if process.trend_factor >= 0:
            found.append((process, together))
    return max(found, key=lambda one: one[0].log_density)


def is_alike(one: BaseDistribution, other: BaseDistribution) -> bool:
    """Whether what was learnt of a knob with one distribution says something of it with the other."""
    if isinstance(one, CategoricalDistribution) or isinstance(other, CategoricalDistribution):
        return one == other
    return True
