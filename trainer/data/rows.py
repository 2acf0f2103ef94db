"""The rows of a data file, as the file has them. Every value is there, has its type, and has a sane size.

An error names the line and the column of a value. This module looks nothing up and leaves nothing out. It repairs one
thing: text whose characters are taken apart (NFD, as macOS writes Hangul) is composed, and the spans in it move along.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any
from unicodedata import is_normalized, normalize

from foldrace.trainer.data.formats import KLUE, PSTAGE, DataError, Place, read_records
from foldrace.trainer.data.in_memory import records_of

MAX_VALUE_LENGTH = 100_000  # characters; sentences are far shorter, and a cell with a stray quote is far longer
MAX_ENTITY_LENGTH = 2_000  # characters of an entity that is written as a dictionary

# An entity as Python writes it where nothing needs an escape. `literal_eval` reads it too, but ten times as slowly.
_PLAIN_ENTITY = re.compile(
    r"\{'word': '([^'\\\r\n]*)', 'start_idx': (0|[1-9][0-9]{0,8}), 'end_idx': (0|[1-9][0-9]{0,8}), 'type': '([A-Z]*)'\}"
)


Rows = Iterable[str | Mapping[Any, object]]  # in memory; `in_memory.records_of` says what they are


@dataclass(frozen=True)
class Mention:
    """An entity as the file has it. Whether its span fits the sentence is not known yet.

    Attributes:
        start, end: its first and its last character in the sentence.
        type: None when the file has none.
        columns: the names of the columns of `start` and of `end`, for errors.
    """

    text: str
    start: int
    end: int
    type: str | None
    columns: tuple[str, str]


@dataclass(frozen=True)
class Row:
    """One row as the file has it.

    Attributes:
        label: a name, a number, or a word for "hidden"; None when the value is empty or there is no column.
    """

    place: Place
    id: str
    sentence: str
    subject: Mention
    object: Mention
    label: str | None


def read_rows(source: Path | Rows) -> list[Row]:
    """Every row of a P-Stage TSV, a Boostcamp or KLUE CSV, or a KLUE JSON file; or of some in memory.

    Raises:
        DataError: the file cannot be read, or any row of it is malformed.
    """
    rows, lines = [], dict[str, int]()
    for place, record in read_records(source) if isinstance(source, Path) else records_of(source):
        row = _row(place, record)
        if row.id in lines:
            raise place.error("id", f"{short_repr(row.id)} is also the id on line {lines[row.id]}; ids must differ")
        lines[row.id] = place.line
        rows.append(row)
    if not rows:
        raise DataError(f"{source if isinstance(source, Path) else 'rows'}: no rows")
    return rows


def _row(place: Place, record: Mapping[str, object]) -> Row:
    for column, value in record.items():
        _check_text(place, column, value)
    in_columns = "start1" in record
    for column in (PSTAGE if in_columns else KLUE)[:-1]:  # a test file may have no column for the label
        if column not in record:
            raise place.error(column, "missing")
    identity = record["id"]
    if in_columns:
        subject, target = _from_columns(place, record, 1), _from_columns(place, record, 2)
    else:
        subject, target = _from_dict(place, record, "subject_entity"), _from_dict(place, record, "object_entity")
    sentence = _text(place, "sentence", record["sentence"])
    return Row(
        place=place,
        id=_text(place, "id", str(identity) if type(identity) is int else identity),
        sentence=normalize("NFC", sentence),
        subject=_composed(subject, sentence),
        object=_composed(target, sentence),
        label=_label(place, record.get("label")),
    )


def _composed(mention: Mention, sentence: str) -> Mention:
    """The mention as it stands in the composed sentence; `sentence` is as the file has it."""
    text, kind = normalize("NFC", mention.text), mention.type and normalize("NFC", mention.type)
    composed = replace(mention, text=text, type=kind)
    if is_normalized("NFC", sentence) or not 0 <= mention.start <= mention.end < len(sentence):
        return composed
    start, end = (len(normalize("NFC", sentence[:place])) for place in (mention.start, mention.end + 1))
    whole = normalize("NFC", sentence)
    # What took the characters apart may have left the spans as they were.
    is_left = whole[start:end] != text == whole[mention.start : mention.end + 1]
    return composed if is_left else replace(composed, start=start, end=end - 1)


def _from_columns(place: Place, record: Mapping[str, object], number: int) -> Mention:
    entity, start, end = f"entity{number}", f"start{number}", f"end{number}"
    text = _text(place, entity, record[entity])
    return Mention(text, _integer(place, start, record[start]), _integer(place, end, record[end]), None, (start, end))


def _from_dict(place: Place, record: Mapping[str, object], column: str) -> Mention:
    found = record[column]
    entity = _parsed(place, column, found) if isinstance(found, str) else found
    if not isinstance(entity, dict):
        raise place.error(column, f"expected {{'word', 'start_idx', 'end_idx', 'type'}}, found {short_repr(found)}")
    for key in ("word", "start_idx", "end_idx"):
        if key not in entity:
            raise place.error(column, f"no {key!r} in {short_repr(found)}")
    for key in ("word", "type"):
        _check_text(place, f"{column}.{key}", entity.get(key))
    text = _text(place, f"{column}.word", entity["word"])
    start, end = f"{column}.start_idx", f"{column}.end_idx"
    type_ = None if entity.get("type") is None else _text(place, f"{column}.type", entity["type"])
    return Mention(
        text, _integer(place, start, entity["start_idx"]), _integer(place, end, entity["end_idx"]), type_, (start, end)
    )


def _parsed(place: Place, column: str, cell: str) -> Any:
    if len(cell) > MAX_ENTITY_LENGTH:
        raise place.error(column, f"{len(cell):,} characters; an entity may have {MAX_ENTITY_LENGTH:,}")
    if plain := _PLAIN_ENTITY.fullmatch(cell):
        return dict(zip(("word", "start_idx", "end_idx", "type"), plain.groups(), strict=True))
    try:
        return json.loads(cell) if cell.startswith('{"') else ast.literal_eval(cell)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # hostile text raises any of these
        raise place.error(column, f"not a dictionary: {short_repr(cell)}") from None


def _text(place: Place, column: str, value: object) -> str:
    if not isinstance(value, str):
        raise place.error(column, f"expected text, found {short_repr(value)}")
    if not value.strip():
        raise place.error(column, "empty")
    return value


def _integer(place: Place, column: str, value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value):
        return int(value)
    if type(value) is int and abs(value) < 10**9:
        return value
    raise place.error(column, f"expected a whole number, found {short_repr(value)}")


def _label(place: Place, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return normalize("NFC", value or "").strip() or None
    if type(value) is int:
        return str(value)
    raise place.error("label", f"expected a name or a whole number, found {short_repr(value)}")


def _check_text(place: Place, column: str, value: object) -> None:
    if not isinstance(value, str):
        return
    if len(value) > MAX_VALUE_LENGTH:
        raise place.error(column, f"{len(value):,} characters; a value may have {MAX_VALUE_LENGTH:,}")
    if "\0" in value:
        raise place.error(column, "holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise place.error(column, "holds half of a surrogate pair, which is not a character") from None
