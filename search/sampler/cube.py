"""A search space as a cube: each knob from 0 to 1 on its own scale, and back to the values that a trial is given."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.gaussian_process import Inputs
from foldrace.trainer.arrays import FloatArray

MIDDLE = 0.5  # of the range of a knob
MOVED = 0.5  # the probability that a knob is moved, where a configuration is looked for near another
CHANGED = 0.2  # that a choice is drawn anew


class Cube:
    """The knobs of a space, in its order. A position is (knobs,); a choice lies in the middle of its part of 0 to 1.

    An inactive knob lies in the middle of its range: there, configurations that differ only in such knobs are the same,
    and on average it is the least far from where the knob is active.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space, self._columns = space, list(space.values())
        self._middle = np.array([_unit(_param(MIDDLE, d), d) for d in self._columns])
        self.knobs = len(space)

    def position(self, params: Mapping[str, Any]) -> list[float]:
        """Where a configuration lies; a number outside its range is moved to the range's edge."""
        active = [knob for knob in self._space.active(params) if knob in params]
        return [
            _unit(params[knob], d) if knob in active else float(middle)
            for (knob, d), middle in zip(self._space.items(), self._middle, strict=True)
        ]

    def params(self, position: FloatArray) -> dict[str, Any]:
        """The configuration at a position, without inactive knobs; integers and steps are rounded."""
        whole = {knob: _param(float(u), d) for (knob, d), u in zip(self._space.items(), position, strict=True)}
        return {knob: whole[knob] for knob in self._space.active(whole)}

    def filled(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration with a value for each inactive knob too: the middle of its range."""
        active = self._space.active(params)
        return {knob: params[knob] if knob in active else _param(MIDDLE, d) for knob, d in self._space.items()}

    def holds(self, params: Mapping[str, Any]) -> bool:
        """Whether a configuration has a value for each active knob: a number, or a choice that there is."""
        return all(
            params.get(knob) in d.choices
            if isinstance(d, CategoricalDistribution)
            else isinstance(params.get(knob), int | float)
            for knob, d in self._space.only(self._space.active(params)).items()
        )

    def snapped(self, positions: FloatArray) -> FloatArray:
        """(rows, knobs), with integers, steps, choices and inactive knobs at the places that they can have."""
        positions = positions.copy()
        for column, d in enumerate(self._columns):
            if isinstance(d, CategoricalDistribution):
                positions[:, column] = (_choice(positions[:, column], d) + 0.5) / len(d.choices)
            elif isinstance(d, FloatDistribution | IntDistribution) and d.step is not None:
                positions[:, column] = to_units(from_units(positions[:, column], d), d)
        return self._without_inactive(positions)

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
        columns, knobs, positions = [], [], self._without_inactive(positions)
        for column, d in enumerate(self._columns):
            if isinstance(d, CategoricalDistribution):
                chosen = _choice(positions[:, column], d)
                columns += [(chosen == choice) / math.sqrt(2) for choice in range(len(d.choices))]
                knobs += [column] * len(d.choices)
            else:
                columns.append(positions[:, column])
                knobs.append(column)
        return Inputs(np.stack(columns, axis=1), tuple(knobs))

    def _without_inactive(self, positions: FloatArray) -> FloatArray:
        """(rows, knobs), with inactive knobs in the middle of their ranges."""
        if not self._space.conditions:
            return positions
        found, names = positions.copy(), list(self._space)
        for knob, when in self._space.conditions.items():
            is_active = np.ones(len(positions), dtype=np.bool_)
            for other, wanted in when.items():
                d = self._space[other]
                assert isinstance(d, CategoricalDistribution)
                is_wanted = np.array([choice in wanted for choice in d.choices])
                is_active &= is_wanted[_choice(positions[:, names.index(other)], d).astype(np.int64)]
            column = names.index(knob)
            found[:, column] = np.where(is_active, positions[:, column], self._middle[column])
        return found


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
