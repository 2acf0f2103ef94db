"""The rows of a data file as the file has them: every value is there, of its type and of a sane size.

A value that is not is named by its line and column. Nothing is repaired, looked up or left out here.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shown
from typing import Any

from foldrace.trainer.data.formats import KLUE, PSTAGE, DataError, Place, read_records

MAX_VALUE = 100_000  # characters of one value: far above any sentence, far below a file that a stray quote swallowed
MAX_ENTITY = 2_000  # characters of an entity that is written as a dictionary

# An entity as Python writes it where nothing needs an escape: `literal_eval` reads it too, at ten times the cost.
_PLAIN_ENTITY = re.compile(
    r"\{'word': '([^'\\\r\n]*)', 'start_idx': (0|[1-9][0-9]{0,8}), 'end_idx': (0|[1-9][0-9]{0,8}), 'type': '([A-Z]*)'\}"
)


@dataclass(frozen=True)
class Mention:
    """An entity as the file has it; whether the span fits the sentence is not known yet. `columns`: start's, end's."""

    text: str
    start: int
    end: int
    type: str | None
    columns: tuple[str, str]


@dataclass(frozen=True)
class Row:
    """One row as the file has it. `label` is a name, a number or a word for "hidden"; None: empty or no column."""

    place: Place
    id: str
    sentence: str
    subject: Mention
    object: Mention
    label: str | None


def read_rows(path: Path) -> list[Row]:
    """Every row of a P-Stage TSV, a Boostcamp or KLUE CSV, or a KLUE JSON file.

    Raises:
        DataError: the file cannot be read, or any row of it is malformed.
    """
    rows, lines = [], dict[str, int]()
    for place, record in read_records(path):
        row = _row(place, record)
        if row.id in lines:
            raise place.error("id", f"{shown(row.id)} is also the id on line {lines[row.id]}; ids must differ")
        lines[row.id] = place.line
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: no rows")
    return rows


def _row(place: Place, record: Mapping[str, object]) -> Row:
    for column, value in record.items():
        _sound(place, column, value)
    in_columns = "start1" in record
    for column in (PSTAGE if in_columns else KLUE)[:-1]:  # the label may be hidden by leaving its column out
        if column not in record:
            raise place.error(column, "missing")
    identity = record["id"]
    if in_columns:
        subject, target = _from_columns(place, record, 1), _from_columns(place, record, 2)
    else:
        subject, target = _from_dict(place, record, "subject_entity"), _from_dict(place, record, "object_entity")
    return Row(
        place=place,
        id=_text(place, "id", str(identity) if type(identity) is int else identity),
        sentence=_text(place, "sentence", record["sentence"]),
        subject=subject,
        object=target,
        label=_label(place, record.get("label")),
    )


def _from_columns(place: Place, record: Mapping[str, object], number: int) -> Mention:
    entity, start, end = f"entity{number}", f"start{number}", f"end{number}"
    text = _text(place, entity, record[entity])
    return Mention(text, _integer(place, start, record[start]), _integer(place, end, record[end]), None, (start, end))


def _from_dict(place: Place, record: Mapping[str, object], column: str) -> Mention:
    found = record[column]
    entity = _parsed(place, column, found) if isinstance(found, str) else found
    if not isinstance(entity, dict):
        raise place.error(column, f"expected {{'word', 'start_idx', 'end_idx', 'type'}}, found {shown(found)}")
    for key in ("word", "start_idx", "end_idx"):
        if key not in entity:
            raise place.error(column, f"no {key!r} in {shown(found)}")
    for key in ("word", "type"):
        _sound(place, f"{column}.{key}", entity.get(key))
    text = _text(place, f"{column}.word", entity["word"])
    start, end = f"{column}.start_idx", f"{column}.end_idx"
    type_ = None if entity.get("type") is None else _text(place, f"{column}.type", entity["type"])
    return Mention(
        text, _integer(place, start, entity["start_idx"]), _integer(place, end, entity["end_idx"]), type_, (start, end)
    )


def _parsed(place: Place, column: str, cell: str) -> Any:
    if len(cell) > MAX_ENTITY:
        raise place.error(column, f"{len(cell):,} characters; an entity may have {MAX_ENTITY:,}")
    if plain := _PLAIN_ENTITY.fullmatch(cell):
        return dict(zip(("word", "start_idx", "end_idx", "type"), plain.groups(), strict=True))
    try:
        return json.loads(cell) if cell.startswith('{"') else ast.literal_eval(cell)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # what hostile text can make of these two
        raise place.error(column, f"not a dictionary: {shown(cell)}") from None


def _text(place: Place, column: str, value: object) -> str:
    if not isinstance(value, str):
        raise place.error(column, f"expected text, found {shown(value)}")
    if not value.strip():
        raise place.error(column, "empty")
    return value


def _integer(place: Place, column: str, value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value):
        return int(value)
    if type(value) is int and abs(value) < 10**9:
        return value
    raise place.error(column, f"expected a whole number, found {shown(value)}")


def _label(place: Place, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return (value or "").strip() or None
    if type(value) is int:
        return str(value)
    raise place.error("label", f"expected a name or a whole number, found {shown(value)}")


def _sound(place: Place, column: str, value: object) -> None:
    if not isinstance(value, str):
        return
    if len(value) > MAX_VALUE:
        raise place.error(column, f"{len(value):,} characters; a value may have {MAX_VALUE:,}")
    if "\0" in value:
        raise place.error(column, "holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise place.error(column, "holds half of a surrogate pair, which is not a character") from None
