"""One evaluation of a fold, as the training loop makes it, the database stores it, and every reader reads it.

No other file knows the keys of a stored record. This module never imports torch, because commands that only read import
it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from foldrace.errors import FoldraceError
from foldrace.trainer.metrics import Scores


class RecordError(FoldraceError):
    """What is stored is not the record of an evaluation."""


UNSCORED = Scores()
ROUNDING = 1e-9  # by so much the area under a curve was above 1 before it was capped


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """One point of the curve of a fold.

    Attributes:
        index: 0 for the first of `evaluations` points. A fold of few steps leaves some out, but never the last.
        step: optimiser steps done.
        epoch: passes over the training part done.
        cycle_end: whether the learning rate is at its floor here.
        lr: the learning rate of the last step.
        train_loss: mean per row since the evaluation before, as it was minimised, but without adversarial rows.
        eval_loss: mean cross entropy per validation row.
        scores: of the validation part; of the averaged weights where there are some and they are the better ones.
        right: which validation rows are right, as hexadecimal bits in validation order.
        rows: the number of validation rows, where trials may be compared row by row (the metric is accuracy); else 0.
        best: the best of the study's metric in this fold up to here.
    """

    index: int = 0
    step: int = 0
    epoch: float = math.nan
    cycle_end: bool = False
    lr: float = math.nan
    train_loss: float = math.nan
    eval_loss: float = math.nan
    scores: Scores = UNSCORED
    right: str = ""
    rows: int = 0
    best: float

    def to_json(self) -> dict[str, Any]:
        """The record as plain data. Numbers that are not finite become None."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: object) -> "EvaluationRecord":
        """The evaluation in plain data, or in its JSON text.

        A field that another version left out, or stored as another type, has its default. Unknown keys are passed over.

        Raises:
            RecordError: it holds no `best` from 0 to 1, as every metric has it.
        """
        found = _mapping(stored)
        best = read_best(found or stored)
        scores = Scores(**_typed(_mapping(found.get("scores")), Scores))
        return cls(**_typed(found, cls) | {"best": best, "scores": scores})


def read_best(stored: object) -> float:
    """The `best` of an evaluation in plain data, or in its JSON text. Raises RecordError as `from_json` does."""
    best = _number(_mapping(stored).get("best"))
    if best is not None and 1 < best < 1 + ROUNDING:
        return 1.0
    if best is None or not 0 <= best <= 1:
        raise RecordError(
            f"not the record of an evaluation: expected a number from 0 to 1 as best, found {stored!r:.80}"
        )
    return best


def first_best(curve: Sequence[EvaluationRecord]) -> EvaluationRecord:
    """The first evaluation that reached the best of its fold. `curve` holds at least one, in their order."""
    return next(evaluation for evaluation in curve if evaluation.best == curve[-1].best)


def _mapping(stored: object) -> Mapping[str, Any]:
    if isinstance(stored, str):
        try:
            stored = json.loads(stored)
        except ValueError:
            return {}
    return stored if isinstance(stored, Mapping) else {}


def _typed(stored: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The stored values of the fields of a dataclass that have the right type."""
    found: dict[str, Any] = {}
    for field in fields(kind):
        value = stored.get(field.name)
        if field.type is int or field.type is float:
            if (number := _number(value)) is not None:
                found[field.name] = field.type(number)
        elif field.type in (bool, str) and type(value) is field.type:
            found[field.name] = value
    return found


def _number(found: object) -> float | None:
    """A finite number, or None."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    try:
        return float(found) if math.isfinite(found) else None
    except OverflowError:  # an integer beyond every float
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
