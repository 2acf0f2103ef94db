"""A version of foldrace that came later: it has a knob more, and a key more in a section.

As a script it makes the process that runs it such a version: tests import it as `sitecustomize`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from foldrace.studies.knobs import Hyperparameters
from foldrace.studies.sections import Folds
from foldrace.studies.study import Study

KNOB, KNOB_DEFAULT = "patience", 0.5  # of [training]
KEY, KEY_DEFAULT = "repeats", 1  # of [folds]


def become() -> None:
    knob: Any = Field(KNOB_DEFAULT, ge=0, le=1, json_schema_extra={"unit": "", "searchable": True})
    key: Any = Field(KEY_DEFAULT, ge=1)
    _add(Hyperparameters, KNOB, float, knob)
    _add(Folds, KEY, int, key)
    _rebuild()


@contextmanager
def later_version() -> Iterator[None]:
    """Be the later version for a while."""
    become()
    try:
        yield
    finally:
        del Hyperparameters.__pydantic_fields__[KNOB], Folds.__pydantic_fields__[KEY]
        _rebuild()


def _add(model: type[BaseModel], name: str, kind: type, field: FieldInfo) -> None:
    field.annotation = kind
    model.__pydantic_fields__[name] = field


def _rebuild() -> None:
    for model in (Hyperparameters, Folds):
        model.model_rebuild(force=True)
    Study.__pydantic_fields__["folds"].default = Folds()
    Study.model_rebuild(force=True)
