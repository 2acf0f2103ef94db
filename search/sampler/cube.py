"""A search space as a cube: each knob from 0 to 1 on its own scale, and back to the values that a trial is given."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from foldrace.search.sampler.gaussian_process import Inputs
from foldrace.trainer.arrays import FloatArray

MOVED = 0.5  # the probability that a knob is moved, where a configuration is looked for near another
CHANGED = 0.2  # that a choice is drawn anew


class Cube:
    """The knobs of a space, in its order. A position is (knobs,); a choice lies in the middle of its part of 0 to 1."""

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space, self._columns = space, list(space.values())
        self.knobs = len(space)

    def position(self, params: Mapping[str, Any]) -> list[float]:
        """Where a configuration lies; a number outside its range is moved to the range's edge."""
        return [_unit(params[knob], distribution) for knob, distribution in self._space.items()]

    def params(self, position: FloatArray) -> dict[str, Any]:
        """The configuration at a position; integers and steps are rounded."""
        return {
            knob: _param(float(u), distribution)
            for (knob, distribution), u in zip(self._space.items(), position, strict=True)
        }

    def holds(self, params: Mapping[str, Any]) -> bool:
        """Whether a configuration has a value for each knob, of a choice one that there is."""
        return all(
            knob in params and (not isinstance(d, CategoricalDistribution) or params[knob] in d.choices)
            for knob, d in self._space.items()
        )

    def snapped(self, positions: FloatArray) -> FloatArray:
        """(rows, knobs), with integers, steps and choices at the places that they can have."""
        positions = positions.copy()
        for column, d in enumerate(self._columns):
            if isinstance(d, CategoricalDistribution):
                positions[:, column] = (_choice(positions[:, column], d) + 0.5) / len(d.choices)
            elif isinstance(d, FloatDistribution | IntDistribution) and d.step is not None:
                positions[:, column] = to_units(from_units(positions[:, column], d), d)
        return positions

    def near(self, positions: FloatArray, step: float, random: np.random.Generator) -> FloatArray:
        """(rows, knobs), each position with about half of its knobs moved by a normal `step`."""
        moves = random.normal(size=positions.shape) * step * (random.random(positions.shape) < MOVED)
        moved = np.clip(positions + moves, 0, 1)
        for column, d in enumerate(self._columns):
            if isinstance(d, CategoricalDistribution):
                anew = random.random(len(moved)) < CHANGED
                moved[:, column] = np.where(anew, random.random(len(moved)), positions[:, column])
        return self.snapped(moved)

    def inputs(self, positions: FloatArray) -> Inputs:
        """As a process takes them: of a choice one column each, so that any two choices are equally far apart."""
        columns, knobs = [], []
        for column, d in enumerate(self._columns):
            if isinstance(d, CategoricalDistribution):
                chosen = _choice(positions[:, column], d)
                columns += [(chosen == choice) / math.sqrt(2) for choice in range(len(d.choices))]
                knobs += [column] * len(d.choices)
            else:
                columns.append(positions[:, column])
                knobs.append(column)
        return Inputs(np.stack(columns, axis=1), tuple(knobs))


def to_units(values: FloatArray, distribution: BaseDistribution) -> FloatArray:
    """Numbers as places in their range; outside of it, its edge."""
    low, high, log = _edges(distribution)
    if high <= low:
        return np.full(len(values), 0.5)
    numbers = np.log(np.maximum(values, math.exp(low))) if log else values
    return np.clip((numbers - low) / (high - low), 0.0, 1.0)


def from_units(units: FloatArray, distribution: BaseDistribution) -> FloatArray:
    """Places in a range as numbers; those of integers and steps are rounded."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, log = _edges(distribution)
    values = low + units * (high - low)
    values = np.exp(values) if log else values
    if distribution.step is not None:
        values = distribution.low + np.round((values - distribution.low) / distribution.step) * distribution.step
    return np.clip(values, distribution.low, distribution.high)


def _edges(distribution: BaseDistribution) -> tuple[float, float, bool]:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.log:
        return math.log(distribution.low), math.log(distribution.high), True
    return float(distribution.low), float(distribution.high), False


def _param(unit: float, distribution: BaseDistribution) -> Any:
    units = np.array([unit])
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(_choice(units, distribution)[0])]
    value = float(from_units(units, distribution)[0])
    return round(value) if isinstance(distribution, IntDistribution) else value


def _unit(value: Any, distribution: BaseDistribution) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return (distribution.choices.index(value) + 0.5) / len(distribution.choices)
    return float(to_units(np.array([float(value)]), distribution)[0])


def _choice(units: FloatArray, distribution: CategoricalDistribution) -> FloatArray:
    count = len(distribution.choices)
    return np.minimum(np.floor(units * count), count - 1)
