"""The supported file formats, told apart by content, never by the file's name: a file becomes records.

Each record knows its line. What the values mean is not asked here, and nothing in a file is ever executed.
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
from reprlib import repr as shown

from foldrace.errors import FoldraceError

MAX_FILE = 2**30  # bytes

PSTAGE = ("id", "sentence", "entity1", "start1", "end1", "entity2", "start2", "end2", "label")
KLUE = ("id", "sentence", "subject_entity", "object_entity", "label")
_ALIASES = {"guid": "id", "information": "id", "relation": "label"} | {
    f"entity_0{i}{long}": f"{short}{i}"
    for i in (1, 2)
    for long, short in (("", "entity"), ("_start", "start"), ("_end", "end"))
}


class DataError(FoldraceError):
    """A data file cannot be used as it is; the message names the file, the line and the column."""


@dataclass(frozen=True)
class Place:
    """Where a row begins: its physical line, from 1, and in JSON (it may be one long line) the object's number."""

    path: Path
    line: int
    record: int | None = None

    def error(self, column: str, problem: str) -> DataError:
        record = "" if self.record is None else f" (object {self.record})"
        name = column if column.isprintable() and 0 < len(column) <= 40 else shown(column)
        return DataError(f"{self.path}, line {self.line}{record}, column {name}: {problem}")


def read_records(path: Path) -> Iterator[tuple[Place, Mapping[str, object]]]:
    """The rows of a P-Stage TSV, a Boostcamp or KLUE CSV or a KLUE JSON file, as what stands in each column.

    A table's values are text. Columns are called as in `PSTAGE` or `KLUE`; there may be others.

    Raises:
        DataError: the file cannot be read or taken apart.
    """
    text = read_text(path, MAX_FILE)
    return _json_records(path, text) if re.match(r"\s*[\[{]", text) else _table_records(path, text)


def read_bytes(path: Path, limit: int) -> bytes:
    """A file that has something in it, and no more than `limit` bytes."""
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
    """A UTF-8 file without its byte order mark; line ends are kept as they are."""
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
    csv.field_size_limit(MAX_FILE)  # the module's own limit cannot say which cell; `rows.py` can
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        place = Place(path, reader.line_num + 1)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _unbalanced(place, "".join(lines[place.line - 1 :]), delimiter, error) from None
        # Quotes that are balanced only because one in a later row closes them would lose the rows between.
        swallowing = [i for i, cell in enumerate(cells, 1) if delimiter == "\t" and "\t" in cell and "\n" in cell]
        if swallowing:
            raise place.error(f"{swallowing[0]}", "its quotes hold whole lines with tabs; double the quotes in a cell")
        if cells:
            yield place, cells


def _unbalanced(place: Place, text: str, delimiter: str, error: csv.Error) -> DataError:
    """The error for the cell at which `text`, from the start of its row on, stops being CSV."""
    sound = re.compile(rf'(?:"(?:[^"]|"")*+"|[^"{delimiter}][^{delimiter}\r\n]*+|){delimiter}')
    column, position = 1, 0
    while match := sound.match(text, position):
        column, position = column + 1, match.end()
    opening = Place(place.path, place.line + text.count("\n", 0, position))
    return opening.error(f"{column}", f"unbalanced quotes ({error}); a quoted cell must double the quotes inside it")


def _columns(place: Place, cells: list[str], delimiter: str) -> tuple[Sequence[str], bool]:
    """The columns' names, and whether the file's first row is where they stand."""
    names = [_column(cell.strip().lower()) for cell in cells]
    if "sentence" not in names and delimiter == "\t":
        return PSTAGE[:8] if len(cells) == 8 else PSTAGE, False  # eight: a test file without labels
    *needed, label = PSTAGE if "start1" in names else KLUE
    for column in needed:
        if column not in names:
            raise place.error(column, f"missing from the header; expected {','.join([*needed, label])}")
    for column in (*needed, label):
        if names.count(column) > 1:
            raise place.error(column, "more than once in the header")
    return names, True


def _column(name: str) -> str:
    return _ALIASES.get(name, name)


# JSON


def _json_records(path: Path, text: str) -> Iterator[tuple[Place, Mapping[str, object]]]:
    """The objects of a list, read one by one: only so is the line of each known."""
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
        yield Place(path, line, number), {_column(key): value for key, value in record.items()}
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
        f"{path}, line {line}: not a JSON list of rows: {problem}, found {shown(text[position : position + 40])}"
    )


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1].isspace():
        position += 1
    return position
