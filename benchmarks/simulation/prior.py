"""What earlier studies promise: processes fitted to their trials, as a trend of a new study's process.

value = mean + b * trend(knobs) + residual, b around 1. A trend counts only while it explains the new study better than
none does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from foldrace.search.sampler.cube import Cube, from_units, to_units
from foldrace.search.sampler.gaussian_process import GaussianProcess, Inputs, fit
from foldrace.search.sampler.readings import Readings
from foldrace.trainer.arrays import FloatArray

FEWEST = 3  # trials of an earlier study, from which anything is learnt


class Trend(Protocol):
    """What is believed beforehand of configurations, in the metric's units, around 0."""

    def __call__(self, positions: FloatArray) -> FloatArray:
        """(rows,), at (rows, knobs) of the new space."""


@dataclass(frozen=True, eq=False)
class PriorStudy:
    """The trials of an earlier study.

    Attributes:
        space: its knobs.
        params: of each trial.
        values, variances: (trials,), what is known of each trial's level.
    """

    space: Mapping[str, BaseDistribution]
    params: Sequence[Mapping[str, Any]]
    values: FloatArray
    variances: FloatArray

    def reversed(self) -> "PriorStudy":
        """The same study with its best trials at the bottom."""
        return replace(self, values=-self.values)

    def trends(self, space: Mapping[str, BaseDistribution]) -> list["Trend"]:
        """Trends over a new space: by the knobs' values, and where the ranges differ also by their places in them."""
        shared = {knob: d for knob, d in self.space.items() if knob in space and _is_alike(d, space[knob])}
        if not shared or len(self.params) < FEWEST or np.ptp(self.values) == 0:
            return []
        cube = Cube(shared)
        at = np.array([cube.position(params) for params in self.params])
        process = fit(cube.inputs(at), self.values, self.variances)
        columns = tuple(list(space).index(knob) for knob in shared)
        by_value = Process(process, cube, columns, tuple(space[knob] for knob in shared), tuple(shared.values()))
        own = tuple(space[knob] for knob in shared)
        by_place = Process(process, cube, columns, own, own)
        return [by_value] if own == tuple(shared.values()) else [by_value, by_place]


@dataclass(frozen=True, eq=False)
class Process:
    """What a process fitted to an earlier study expects, less its mean.

    Attributes:
        columns: of the new space, of the knobs that both have.
        new, old: their distributions in the new space, and those that the process measures places by.
    """

    process: GaussianProcess
    cube: Cube
    columns: tuple[int, ...]
    new: tuple[BaseDistribution, ...]
    old: tuple[BaseDistribution, ...]

    def __call__(self, positions: FloatArray) -> FloatArray:
        there = [
            units if new == old else to_units(from_units(units, new), old)
            for units, new, old in zip(positions.T[list(self.columns)], self.new, self.old, strict=True)
        ]
        means, _ = self.process.at(self.cube.inputs(np.stack(there, axis=1)))
        return means - self.process.mean


def average(trends: Sequence[Trend]) -> Trend:
    """What several trends say together."""
    return lambda positions: np.mean([trend(positions) for trend in trends], axis=0)


def most_credible(
    inputs: Inputs, positions: FloatArray, readings: Readings, trends: Sequence[Trend]
) -> tuple[GaussianProcess, Trend | None]:
    """The process that explains the rows best: without a trend, with one of them, or with their average."""
    targets, noise = readings.values, readings.variances
    best, chosen = fit(inputs, targets, noise), None
    for trend in [*trends, average(trends)] if len(trends) > 1 else trends:
        found = fit(Inputs(inputs.columns, inputs.knobs, trend(positions)), targets, noise)
        if found.evidence > best.evidence:
            best, chosen = found, trend
    return best, chosen


def _is_alike(one: BaseDistribution, other: BaseDistribution) -> bool:
    if isinstance(one, CategoricalDistribution) or isinstance(other, CategoricalDistribution):
        return one == other
    return True
