"""What a study file may ask of a knob: one value, which fixes it, or a `Range` or `Choices`, which search it.

Each is checked against the table of knobs.
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from foldrace.errors import Shown, did_you_mean
from foldrace.studies.knobs import Hyperparameters, Value, bounds, is_integer, is_numeric, is_searchable

GRID_TOLERANCE = 1e-6  # of a step, by which a value may miss the grid of its range
MOST_STEPS = 1_000_000  # of a range; Optuna cannot divide one by a step that is far smaller
SHOWN = Shown()  # a value as messages show it: cut where it is longer
SHOWN.maxstring = SHOWN.maxother = SHOWN.maxlong = 200


def _as_lists(given: Any) -> Any:
    """One value of a condition as a list."""
    if not isinstance(given, Mapping):
        raise ValueError(f'expected knobs with their values, as in {{ optimizer = "sgd" }}, found {SHOWN.repr(given)}')
    found = {knob: values if isinstance(values, list | tuple) else [values] for knob, values in given.items()}
    for knob, values in found.items():
        if not values or not all(isinstance(value, Value) for value in values):
            right = f"expected a value of {knob}, or a list of some"
            raise ValueError(f"{right}, found {SHOWN.repr(given[knob])}")
    return found


# The knobs that a knob depends on, each with the values with which it is searched: all of them have to have one.
Condition = Annotated[dict[str, tuple[Value, ...]], BeforeValidator(_as_lists)]


class Range(BaseModel):
    """Search a numeric knob between `low` and `high`, both included; `log`: evenly in its logarithm."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: float
    high: float
    log: bool = False
    step: float | None = Field(None, gt=0)
    when: Condition = {}

    @model_validator(mode="before")
    @classmethod
    def _has_our_keys(cls, given: Any) -> Any:
        if isinstance(given, list):
            listed = f"{{ choices = {json.dumps(given, ensure_ascii=False)} }}"
            right = f"{_spelt(*given)} for a range, or {listed}" if _is_pair(given) else listed
            raise ValueError(f"expected {right}, found {given!r}")
        if isinstance(given, dict) and any(isinstance(edge, bool) and key != "log" for key, edge in given.items()):
            raise ValueError(f"a range is between numbers, found {SHOWN.repr(given)}")
        if isinstance(given, dict) and not given.keys().isdisjoint(("min", "max")):
            right = _spelt(given.get("min", given.get("low", "...")), given.get("max", given.get("high", "...")))
            raise ValueError(f"a range has low and high: expected {right}, found {', '.join(given)}")
        return given

    @model_validator(mode="after")
    def _right_way_up(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the range is upside down: low {self.low:g} is above high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range needs low above 0, found {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("a range has a step or is log, not both")
        if self.step is not None and (self.high - self.low) / self.step > MOST_STEPS:
            raise ValueError(f"a range has at most {MOST_STEPS:,} steps; leave a step of {self.step:g} out")
        return self


class Choices(BaseModel):
    """Search a knob over listed values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: tuple[Value, ...] = Field(min_length=1, max_length=1000)
    when: Condition = {}

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for i, choice in enumerate(self.choices):
            if choice in self.choices[:i]:
                raise ValueError(f"the choice {choice!r} is listed twice")
        return self


def _is_pair(given: list[Any]) -> bool:
    return len(given) == 2 and all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in given)


def _spelt(low: Any, high: Any) -> str:
    return f"{{ low = {low}, high = {high} }}"


def _kind(setting: Any) -> str:
    if isinstance(setting, Choices) or (isinstance(setting, dict) and "choices" in setting):
        return "choices"
    return "range" if isinstance(setting, Range | dict | list) else "value"


Setting = Annotated[
    Annotated[Value, Tag("value")] | Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(_kind),
]


def check_setting(knob: str, setting: Setting, where: str | None = None) -> None:
    """Raise ValueError unless the knob can have `setting`; `where` is the key that the error names."""
    where = where or f"training.{knob}"
    if knob not in Hyperparameters.model_fields:
        known = Hyperparameters.model_fields
        raise ValueError(f"{where}: unknown knob;{did_you_mean(knob, known)} known: {', '.join(known)}")
    if isinstance(setting, Range | Choices) and not is_searchable(knob):
        raise ValueError(f"{where}: cannot be searched; give it one value")
    if isinstance(setting, Range):
        _check_range(knob, setting, where)
        return
    for value in setting.choices if isinstance(setting, Choices) else (setting,):
        try:
            Hyperparameters.model_validate({knob: value}, strict=True)
        except ValidationError as error:
            raise ValueError(f"{where}: {explain_value(error.errors()[0])}") from None


def check_conditions(settings: Mapping[str, Setting], section: str = "training") -> None:
    """Raise ValueError unless each condition can be met or not: it names choices, or a fixed value.

    Args:
        settings: those of `section`.
    """
    for knob, setting in settings.items():
        for other, values in setting.when.items() if isinstance(setting, Range | Choices) else ():
            where, on = f"{section}.{knob}.when.{other}", settings.get(other)
            if other == knob:
                raise ValueError(f"{where}: a knob cannot depend on itself")
            if isinstance(on, Range):
                raise ValueError(f"{where}: is searched over a range; a condition needs {{ choices = [...] }}")
            if isinstance(on, Choices) and on.when:
                raise ValueError(f"{where}: is itself searched under a condition; that is one level at most")
            for value in values:
                check_setting(other, value, where)
                if isinstance(on, Choices) and value not in on.choices:
                    raise ValueError(f"{where}: {value!r} is not one of {list(on.choices)}")


def is_met(when: Mapping[str, tuple[Value, ...]], values: Mapping[str, Value]) -> bool:
    """Whether each knob of a condition has one of the values that it asks for."""
    return all(values.get(knob) in wanted for knob, wanted in when.items())


def searched_knobs(settings: Mapping[str, Setting]) -> dict[str, Range | Choices]:
    """The settings that search, by knob. Conditions on knobs with one value are decided, and so left out."""
    searched = {knob: s for knob, s in settings.items() if isinstance(s, Range | Choices)}
    found = {}
    for knob, setting in searched.items():
        still_open = {other: values for other, values in setting.when.items() if other in searched}
        decided = {other: values for other, values in setting.when.items() if other not in searched}
        if is_met(decided, {other: _value(other, settings) for other in decided}):
            found[knob] = setting if not decided else setting.model_copy(update={"when": still_open})
    return found


def active_knobs(searched: Mapping[str, Range | Choices], values: Mapping[str, Value]) -> list[str]:
    """The knobs that a trial with these values searches: those whose conditions are met."""
    return [knob for knob, setting in searched.items() if is_met(setting.when, values)]


def condition_words(when: Mapping[str, tuple[Value, ...]]) -> str:
    """A condition as a clause: `optimizer is sgd`."""
    return " and ".join(f"{knob} is {' or '.join(map(str, values))}" for knob, values in when.items())


def setting_words(setting: Range | Choices) -> str:
    """What is searched, in words: `0.5 to 0.99, when optimizer is sgd`."""
    when = f", when {condition_words(setting.when)}" if setting.when else ""
    if isinstance(setting, Choices):
        return ", ".join(map(str, setting.choices)) + when
    return f"{setting.low:g} to {setting.high:g}{', log' if setting.log else ''}{when}"


def _value(knob: str, settings: Mapping[str, Setting]) -> Any:
    """The one value of a knob: its setting, or its default; None of a knob that this version does not have."""
    known = Hyperparameters.model_fields.get(knob)
    return settings.get(knob, None if known is None else known.default)


def _check_range(knob: str, setting: Range, where: str) -> None:
    if not is_numeric(knob):
        raise ValueError(f"{where}: not a number; search it with {{ choices = [...] }}")
    low, high = bounds(knob)
    if setting.low < low or setting.high > high:
        raise ValueError(
            f"{where}: the range {setting.low:g} to {setting.high:g} leaves the knob's bounds, {low:g} to {high:g}"
        )
    edges = [setting.low, setting.high, *([] if setting.step is None else [setting.step])]
    if is_integer(knob) and any(edge != int(edge) for edge in edges):
        raise ValueError(f"{where}: counts whole {knob}; the range {setting.low:g} to {setting.high:g} does not")
    check_setting(knob, int(setting.high) if is_integer(knob) else setting.high, where)


def check_baseline(place: str, value: Value, setting: Range | Choices, baseline: Mapping[str, Value]) -> None:
    """Raise ValueError unless the search could sample the `value` of a `baseline`; `place` is named.

    Optuna would run a value outside its range or off its grid, and model it wrongly.
    """
    if not is_met(setting.when, baseline):
        found = ", ".join(f"{knob} {baseline.get(knob, 'open')}" for knob in setting.when)
        raise ValueError(f"{place}: is searched only when {condition_words(setting.when)}; found {found}")
    if isinstance(setting, Choices):
        if not allows(setting, value):
            raise ValueError(f"{place}: {value!r} is not one of {list(setting.choices)}")
        return
    if not allows(setting, value):
        outside = f"{value!r} lies outside the searched {setting.low:g} to {setting.high:g}"
        raise ValueError(f"{place}: {outside}; give one within")
    if setting.step is not None:
        steps = (float(value) - setting.low) / setting.step
        if abs(steps - round(steps)) > GRID_TOLERANCE:
            below, above = (setting.low + setting.step * whole for whole in (math.floor(steps), math.ceil(steps)))
            raise ValueError(
                f"{place}: {value!r} lies between {below:g} and {above:g}; the searched {setting.low:g} to "
                f"{setting.high:g} has steps of {setting.step:g}"
            )


def allows(setting: Range | Choices, value: Value) -> bool:
    """Whether a value is one of the choices, or a number inside the range."""
    if isinstance(setting, Choices):
        return value in setting.choices
    return not isinstance(value, str) and setting.low <= value <= setting.high


def explain_value(error: Any) -> str:
    """One of a validation's errors as words, with the value that was found."""
    if error["type"] == "tuple_type":
        example = f", as in {json.dumps([error['input']])}" if isinstance(error["input"], Value) else ""
        return f"expected a list{example}, found {SHOWN.repr(error['input'])}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if error["type"] == "value_error" else f"{message}, found {SHOWN.repr(error['input'])}"
