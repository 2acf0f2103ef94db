"""The search space: the study file's ranges as Optuna's distributions, and a trial's values in them.

Only here do the two meet.
"""

import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Self

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from foldrace.studies.knobs import Value, is_integer
from foldrace.studies.settings import Choices, Range, is_met

Conditions = Mapping[str, Mapping[str, tuple[Value, ...]]]  # of each knob that has one, as `Range.when`


class SearchSpace(dict[str, BaseDistribution]):
    """The distribution of each searched knob.

    Attributes:
        conditions: of the knobs that are not always searched, on others of the space.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution], conditions: Conditions = MappingProxyType({})):
        """A condition on a knob that is not in the space is left out."""
        super().__init__(distributions)
        on_others = {
            knob: {other: values for other, values in when.items() if other in self}
            for knob, when in conditions.items()
            if knob in self
        }
        self.conditions = {knob: when for knob, when in on_others.items() if when}

    def active(self, values: Mapping[str, Value]) -> list[str]:
        """The knobs of a configuration with these values: all whose conditions are met."""
        return [knob for knob in self if is_met(self.conditions.get(knob, {}), values)]

    def only(self, knobs: Collection[str]) -> Self:
        """The space of some of the knobs, in their order."""
        return type(self)({knob: self[knob] for knob in knobs}, self.conditions)

    def varied(self) -> Self:
        """The space of the knobs that have more than one value; the whole space where none has."""
        return self.without({knob: single_value(d) for knob, d in self.items() if d.single()}) or self

    def without(self, values: Mapping[str, Value]) -> Self:
        """The space of the knobs that have no value yet, without those that the values make inactive."""
        left = []
        for knob in self:
            decided = {other: wanted for other, wanted in self.conditions.get(knob, {}).items() if other in values}
            if knob not in values and is_met(decided, values):
                left.append(knob)
        return self.only(left)


def make_search_space(searched: Mapping[str, Range | Choices]) -> SearchSpace:
    """The distribution of each searched knob, sorted by name: the order in a file must not change what is sampled."""
    distributions = {knob: _distribution(knob, searched[knob]) for knob in sorted(searched)}
    return SearchSpace(distributions, {knob: setting.when for knob, setting in searched.items()})


def single_value(distribution: BaseDistribution) -> Value:
    """The value of a distribution that has only one."""
    if isinstance(distribution, CategoricalDistribution):
        return _value(distribution.choices[0])
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution.low
    raise TypeError(f"a distribution that no knob has: {distribution!r}")


def normalise_knobs(params: Mapping[str, Value], space: Mapping[str, BaseDistribution]) -> dict[str, float]:
    """The searched knobs of a trial, from 0 to 1: a number by its own scale (log or linear), each choice as 0 or 1.

    A knob that the trial does not have is left out.
    """
    found: dict[str, float] = {}
    for knob, distribution in space.items():
        if knob not in params:
            continue
        value = params[knob]
        if isinstance(distribution, CategoricalDistribution):
            found |= {f"{knob}={choice}": float(choice == value) for choice in distribution.choices}
        elif isinstance(distribution, FloatDistribution | IntDistribution) and not distribution.single():
            scale = math.log if distribution.log else float
            low, high = scale(distribution.low), scale(distribution.high)
            inside = min(max(float(value), distribution.low), distribution.high)  # a queued value may lie anywhere
            found[knob] = (scale(inside) - low) / (high - low)
    return found


def encode_params(space: Mapping[str, BaseDistribution], sampled: Mapping[str, Value]) -> dict[str, tuple[float, str]]:
    """The values as Optuna stores them: a number for each, and its distribution as JSON."""
    return {k: (space[k].to_internal_repr(v), distribution_to_json(space[k])) for k, v in sampled.items()}


def _distribution(knob: str, setting: Range | Choices) -> BaseDistribution:
    if isinstance(setting, Choices):
        return CategoricalDistribution(setting.choices)
    if not is_integer(knob):
        return FloatDistribution(setting.low, setting.high, log=setting.log, step=setting.step)
    step = 1 if setting.step is None else int(setting.step)
    high = int(setting.high) - (int(setting.high) - int(setting.low)) % step  # the last one that is reached
    return IntDistribution(int(setting.low), high, log=setting.log, step=step)


def _value(choice: object) -> Value:
    if isinstance(choice, bool | int | float | str):
        return choice
    raise TypeError(f"a choice that no knob has: {choice!r}")
