"""The rows of a data file, as the file has them. Every value is there, has its type, and has a sane size.

An error names the line and the column of a value. This module looks nothing up and leaves nothing out. It repairs one
thing: text whose characters are taken apart (NFD, as macOS writes Hangul) is composed, and the spans in it move along.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any
from unicodedata import is_normalized, normalize

from foldrace.errors import short_repr
from foldrace.studies.data import Task
from foldrace.trainer.data.formats import DataError, DataFile, Place, Records, each_key_once, read_records
from foldrace.trainer.data.rows.columns import ColumnNames, Layout
from foldrace.trainer.data.rows.in_memory import Rows, records_of

MAX_VALUE_LENGTH = 100_000  # characters; sentences are far shorter, and a cell with a stray quote is far longer
MAX_ENTITY_LENGTH = 2_000  # characters of an entity that is written as a dictionary

# An entity as Python writes it where nothing needs an escape. `literal_eval` reads it too, but ten times as slowly.
_PLAIN_ENTITY = re.compile(
    r"\{'word': '([^'\\\r\n]*)', 'start_idx': (0|[1-9][0-9]{0,8}), 'end_idx': (0|[1-9][0-9]{0,8}), 'type': '([A-Z]*)'\}"
)


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
        text: the sentence; of a pair, its first one.
        entities: subject and object of a relation; else None.
        pair: the second sentence of a pair; else None.
        label: a name, a number, or a word for "hidden"; None when the value is empty or there is no column.
        group, fold: what the study's columns of these names hold; None without one.
    """

    place: Place
    id: str
    text: str
    entities: tuple[Mention, Mention] | None
    pair: str | None
    label: str | None
    group: str | None
    fold: str | None


def read_rows(files: Iterable[DataFile], columns: ColumnNames) -> list[Row]:
    """Every row of some data files, in any format of `read_records`, in their order.

    Raises:
        DataError: any row is malformed, or a file has none.
    """
    return _rows(chain.from_iterable(_some(file, columns) for file in files), columns)


def rows_in_memory(rows: Rows, columns: ColumnNames) -> list[Row]:
    """Every row of some in memory. Raises DataError as `read_rows` does."""
    found = _rows(records_of(rows, columns.data), columns)
    if not found:
        raise DataError("rows: no rows")
    return found


def _some(file: DataFile, columns: ColumnNames) -> Records:
    found = None
    for found in read_records(file, columns.header):
        yield found
    if found is None:
        raise DataError(f"{file.path}: no rows")


def _rows(records: Records, columns: ColumnNames) -> list[Row]:
    rows, places = list[Row](), dict[str, Place]()
    for place, task, record in _laid_out(records, columns):
        row = _row(place, task, {"id": len(rows), **record})
        if row.id in places:
            other = places[row.id]
            where = f"on line {other.line}" if other.path == place.path else f"in {other.path}, line {other.line}"
            raise place.error("id", f"{short_repr(row.id)} is also the id {where}; ids must differ")
        places[row.id] = place
        rows.append(row)
    return rows


def _laid_out(records: Records, columns: ColumnNames) -> Iterator[tuple[Place, Task, Mapping[str, object]]]:
    """The values of each row by what they are. All rows are of the task of the first one."""
    layouts: dict[tuple[str, ...], Layout] = {}
    for place, record in records:
        names = tuple(record)
        if names not in layouts:
            first = next(iter(layouts.values()), None)
            layouts[names] = (columns if first is None else columns.of_task(first.task)).layout(place, names)
        yield place, layouts[names].task, layouts[names].of(record)


def _row(place: Place, task: Task, record: Mapping[str, object]) -> Row:
    for column, value in record.items():
        _check_text(place, column, value)
    text = _text(place, "sentence" if task == "relation" else "text", record)
    mentions = _mentions(place, record) if task == "relation" else None
    return Row(
        place=place,
        id=_name(place, "id", record) or "",
        text=normalize("NFC", text),
        entities=None if mentions is None else (_composed(mentions[0], text), _composed(mentions[1], text)),
        pair=normalize("NFC", _text(place, "pair", record)) if task == "pair" else None,
        label=_label(place, record.get("label")),
        group=_name(place, "group", record),
        fold=_name(place, "fold", record),
    )


def _mentions(place: Place, record: Mapping[str, object]) -> tuple[Mention, Mention]:
    if "start1" in record:
        return _from_columns(place, record, 1), _from_columns(place, record, 2)
    return _from_dict(place, record, "subject_entity"), _from_dict(place, record, "object_entity")


def _name(place: Place, column: str, record: Mapping[str, object]) -> str | None:
    """A value that tells rows apart; None without the column."""
    if column not in record:
        return None
    value = record[column]
    return str(value) if type(value) is int else _checked(place, column, value)


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
    text = _text(place, entity, record)
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
    text = _checked(place, f"{column}.word", entity["word"])
    start, end = f"{column}.start_idx", f"{column}.end_idx"
    type_ = None if entity.get("type") is None else _checked(place, f"{column}.type", entity["type"])
    return Mention(
        text, _integer(place, start, entity["start_idx"]), _integer(place, end, entity["end_idx"]), type_, (start, end)
    )


def _parsed(place: Place, column: str, cell: str) -> Any:
    if len(cell) > MAX_ENTITY_LENGTH:
        raise place.error(column, f"{len(cell):,} characters; an entity may have {MAX_ENTITY_LENGTH:,}")
    if plain := _PLAIN_ENTITY.fullmatch(cell):
        return dict(zip(("word", "start_idx", "end_idx", "type"), plain.groups(), strict=True))
    try:
        if cell.startswith('{"'):
            return json.loads(cell, object_pairs_hook=each_key_once)
        tree = ast.parse(cell.strip(), mode="eval").body
        found = ast.literal_eval(tree)
        if isinstance(tree, ast.Dict) and len(tree.keys) > len(found):
            raise ValueError("a key is there twice")
        return found
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # hostile text raises any of these
        raise place.error(column, f"not a dictionary: {short_repr(cell)}") from None


def _text(place: Place, column: str, record: Mapping[str, object]) -> str:
    return _checked(place, column, record[column])


def _checked(place: Place, column: str, value: object) -> str:
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
