"""Reads the supported file formats: a file becomes records, and each record knows its line.

The content of a file says which format it has; its name never does. This module does not ask what the values mean, and
never executes anything in a file.
"""

import codecs
import csv
import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short_repr

from foldrace.errors import FoldraceError

MAX_FILE_BYTES = 2**30

PSTAGE = ("id", "sentence", "entity1", "start1", "end1", "entity2", "start2", "end2", "label")
KLUE = ("id", "sentence", "subject_entity", "object_entity", "label")
_ALIASES = {"guid": "id", "information": "id", "relation": "label"} | {
    f"entity_0{i}{long}": f"{short}{i}"
    for i in (1, 2)
    for long, short in (("", "entity"), ("_start", "start"), ("_end", "end"))
}


class DataError(FoldraceError):
    """A data file cannot be used as it is. The message names the file, the line and the column."""


@dataclass(frozen=True)
class Place:
    """Where a row begins.

    Attributes:
        path: None of rows in memory.
        line: its physical line, from 1; of rows in memory its index, from 0.
        record: the number of the object in a JSON file, from 1, because all objects may stand in one line; else None.
    """

    path: Path | None
    line: int
    record: int | None = None

    def error(self, column: str, problem: str) -> DataError:
        """The error of a value in this row."""
        record = "" if self.record is None else f" (object {self.record})"
        name = column if column.isprintable() and 0 < len(column) <= 40 else short_repr(column)
        where = f"rows[{self.line}]" if self.path is None else f"{self.path}, line {self.line}{record}"
        return DataError(f"{where}, column {name}: {problem}")


def read_records(path: Path) -> Iterator[tuple[Place, Mapping[str, object]]]:
    """The rows of a P-Stage TSV, a Boostcamp or KLUE CSV, or a KLUE JSON file: the place and the values by column.

    The values of a table are text. Columns have the names of `PSTAGE` or `KLUE`; a file may have others too.

    Raises:
        DataError: the file cannot be read, or it is none of these formats.
    """
    text = read_text(path, MAX_FILE_BYTES)
    return _json_records(path, text) if re.match(r"\s*[\[{]", text) else _table_records(path, text)


def read_bytes(path: Path, limit: int) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: the file cannot be read, is empty, or is larger than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"{path}: the file is empty")
    if len(content) > limit:
        raise DataError(f"{path}: larger than {limit:,} bytes, the most that is read")
    return content


def read_text(path: Path, limit: int) -> str:
    """The text of a UTF-8 file, without its byte order mark. Line ends are kept as they are.

    Raises:
        DataError: as `read_bytes`, or the file is not UTF-8.
    """
    content = read_bytes(path, limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = content[error.start : error.start + 1].hex()
        raise DataError(f"{path}, line {line}: not UTF-8 (byte 0x{found}); save the file as UTF-8") from None


# Tables: TSV and CSV


def _table_records(path: Path, text: str) -> Iterator[tuple[Place, Mapping[str, object]]]:
    lines = list(io.StringIO(text, newline=""))
    delimiter = "\t" if "\t" in next(line for line in lines if line.strip("\r\n")) else ","
    columns: Sequence[str] = ()
    for place, cells in _table_rows(path, lines, delimiter):
        if not columns:
            columns, is_header = _columns(place, cells, delimiter)
            if is_header:
                continue
        if len(cells) < len(columns):
            raise place.error(columns[len(cells)], f"missing: the row has {len(cells)} of {len(columns)} columns")
        if len(cells) > len(columns):
            raise place.error(f"{len(columns) + 1}", f"extra: the row has {len(cells)} columns, not {len(columns)}")
        yield place, dict(zip(columns, cells, strict=True))


def _table_rows(path: Path, lines: list[str], delimiter: str) -> Iterator[tuple[Place, list[str]]]:
    csv.field_size_limit(MAX_FILE_BYTES)  # rows.py limits a cell, and names it; the csv module could not name it
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        place = Place(path, reader.line_num + 1)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _unbalanced(place, "".join(lines[place.line - 1 :]), delimiter, error) from None
        # A quote in a later row may close one that was left open. The rows between would be lost in one cell.
        swallowing = [i for i, cell in enumerate(cells, 1) if delimiter == "\t" and "\t" in cell and "\n" in cell]
        if swallowing:
            raise place.error(f"{swallowing[0]}", "its quotes hold whole lines with tabs; double the quotes in a cell")
        if cells:
            yield place, cells


def _unbalanced(place: Place, text: str, delimiter: str, error: csv.Error) -> DataError:
    """The error of the cell at which `text`, which starts with a row, stops being CSV."""
    sound = re.compile(rf'(?:"(?:[^"]|"")*+"|[^"{delimiter}][^{delimiter}\r\n]*+|){delimiter}')
    column, position = 1, 0
    while match := sound.match(text, position):
        column, position = column + 1, match.end()
    opening = Place(place.path, place.line + text.count("\n", 0, position))
    return opening.error(f"{column}", f"unbalanced quotes ({error}); a quoted cell must double the quotes inside it")


def _columns(place: Place, cells: list[str], delimiter: str) -> tuple[Sequence[str], bool]:
    """The names of the columns, and whether the first row of the file holds them."""
    names = [column_name(cell.strip().lower()) for cell in cells]
    if "sentence" not in names and delimiter == "\t":
        return PSTAGE[:8] if len(cells) == 8 else PSTAGE, False  # a test file without labels has eight
    *needed, label = PSTAGE if "start1" in names else KLUE
    for column in needed:
        if column not in names:
            raise place.error(column, f"missing from the header; expected {','.join([*needed, label])}")
    for column in (*needed, label):
        if names.count(column) > 1:
            raise place.error(column, "more than once in the header")
    return names, True


def column_name(name: str) -> str:
    """The name that a column has here, of one that a file gives it."""
    return _ALIASES.get(name, name)


# JSON


def _json_records(path: Path, text: str) -> Iterator[tuple[Place, Mapping[str, object]]]:
    """The objects of a list. They are decoded one by one, because only so is the line of each known."""
    decoder = json.JSONDecoder()
    position = _skip_space(text, 0)
    if text[position] != "[":
        raise _not_json(path, text, position, "expected a list of objects")
    line, counted = 1, 0
    for number in itertools.count(1):
        position = _skip_space(text, position + 1)
        if number == 1 and text[position : position + 1] == "]":
            break
        line, counted = line + text.count("\n", counted, position), position
        try:
            record, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise _not_json(path, text, error.pos, error.msg) from None
        except (ValueError, RecursionError) as error:
            raise _not_json(path, text, position, str(error)) from None
        if not isinstance(record, dict):
            raise _not_json(path, text, position, "expected an object")
        yield Place(path, line, number), {column_name(key): value for key, value in record.items()}
        position = _skip_space(text, end)
        if text[position : position + 1] != ",":
            break
    if text[position : position + 1] != "]":
        raise _not_json(path, text, position, "expected a comma or the end of the list")
    if text[position + 1 :].strip():
        raise _not_json(path, text, _skip_space(text, position + 1), "expected nothing after the list")


def _not_json(path: Path, text: str, position: int, problem: str) -> DataError:
    line = text.count("\n", 0, position) + 1
    return DataError(
        f"{path}, line {line}: not a JSON list of rows: {problem}, found {short_repr(text[position : position + 40])}"
    )


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1].isspace():
        position += 1
    return position
