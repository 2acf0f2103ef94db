"""What the stored hashes cover, so that a knob or a field that is added later leaves the hashes of old files alone.

A hash that an older version stored does not know what was added since. Whatever it does not know counts as its
default, so a hash never covers a later addition that has its default. That default must never change.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from foldrace.studies.knobs import KNOBS_OF_0_1_0, Hyperparameters
from foldrace.trainer.arrays import IntArray

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def hashed_knobs(knobs: Hyperparameters) -> dict[str, Any]:
    """The knobs that a hash covers: those of version 0.1.0, and of later ones those that differ from their default."""
    defaults = type(knobs).model_fields
    return {
        name: value
        for name, value in knobs.model_dump().items()
        if name in KNOBS_OF_0_1_0 or value != defaults[name].default
    }


def hashed_fields(record: "DataclassInstance") -> dict[str, Any]:
    """The fields of a dataclass that a hash covers: those without a default, and those that differ from theirs.

    The fields of version 0.1.0 have no default, so a field that is added later needs one.
    """
    values = {field: getattr(record, field.name) for field in fields(record)}
    return {field.name: value for field, value in values.items() if field.default is MISSING or value != field.default}


def array_digest(arrays: Mapping[str, IntArray | None]) -> str:
    """The SHA-256, in hexadecimal, of arrays by name: where one ends and what is missing is told, too."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {None if array is None else (array.dtype.str, array.shape)}\n".encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def is_same_task(stored: str, asked: str) -> bool:
    """Whether a file with the hash `stored` belongs to the task with the hash `asked`.

    Version 0.1.0 stored the first of its two parts alone.
    """
    return stored in (asked, asked.partition("-")[0])
