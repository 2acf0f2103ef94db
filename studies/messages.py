"""What is wrong with a study file, as one line: the key, what was found, and what would be right."""

from typing import Any

from pydantic import BaseModel, ValidationError

from foldrace.errors import did_you_mean
from foldrace.studies.knobs import Hyperparameters
from foldrace.studies.settings import SHOWN, Choices, Range, explain_value
from foldrace.studies.study import NAME_RULE, Study

_UNION_TAGS = {"value", "range", "choices", "bool", "int", "float", "str"}  # pydantic puts them into the path of a key


def explain(error: ValidationError) -> str:
    """The first of a validation's errors, as `key: what is wrong`."""
    first, *others = error.errors()
    if first["type"] == "missing":  # perhaps by its name alone
        beside = (one for one in others if one["type"] == "extra_forbidden" and one["loc"][:-1] == first["loc"][:-1])
        first = next(beside, first)
    key = ".".join(str(part) for part in first["loc"] if part not in _UNION_TAGS)
    if first["loc"][-1:] == ("bool",):  # the first of the kinds that a value may be of
        forms = "expected a value, { low = ..., high = ... } or { choices = [...] }"
        return f"{key}: {forms}, found {SHOWN.repr(first['input'])}"
    return f"{key}: {_explain_one(first)}" if key else _explain_one(first)


def _explain_one(error: Any) -> str:
    """One of a validation's errors as words, with what was found."""
    if error["type"] == "extra_forbidden":
        known, found = _keys_beside(error["loc"]), str(error["loc"][-1])
        if len(error["loc"]) <= 2 and (places := _sections_with(found)):
            return f"unknown key; did you mean {' or '.join(places)}?"
        return f"unknown key;{did_you_mean(found, known)} known: {', '.join(known)}" if known else "unknown key"
    if error["type"] == "missing":
        return "missing"
    if error["type"] == "string_pattern_mismatch":  # of a name, the only one
        return f"{NAME_RULE}, found {SHOWN.repr(error['input'])}"
    return explain_value(error)


def _sections_with(key: str) -> list[str]:
    """A key as each section of a study has it that knows it: `search.trials`."""
    sections = {name: field.annotation for name, field in Study.model_fields.items()} | {"training": Hyperparameters}
    return [
        f"{name}.{key}"
        for name, section in sections.items()
        if isinstance(section, type) and issubclass(section, BaseModel) and key in section.model_fields
    ]


def _keys_beside(place: tuple[int | str, ...]) -> list[str]:
    """The keys of the section that a key is in; [] where it is in none."""
    match place:
        case (*_, "range", _):
            return [*Range.model_fields, "choices"]
        case (*_, "choices", _):
            return list(Choices.model_fields)
    section: Any = Study
    for part in place[:-1]:
        field = section.model_fields.get(part)
        section = None if field is None else field.annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
    return list(section.model_fields)
