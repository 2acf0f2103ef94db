"""Reads the supported file formats: a file becomes records, and each record knows its line.

The content of a file says which format it has; its name never does. This module does not ask what the values mean, and
never executes anything in a file.
"""

import codecs
import csv
import hashlib
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from foldrace.errors import FoldraceError, short_repr

MAX_FILE_BYTES = 2**30

_HANGUL = re.compile(r"[가-힣]")
PARQUET = b"PAR1"  # the first bytes of such a file


class DataError(FoldraceError):
    """A data file cannot be used as it is. The message names the file, the line and the column."""


@dataclass(frozen=True, slots=True)
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

    def __str__(self) -> str:
        record = "" if self.record is None else f" (object {self.record})"
        return f"rows[{self.line}]" if self.path is None else f"{self.path}, line {self.line}{record}"

    def error(self, column: str, problem: str) -> DataError:
        """The error of a value in this row."""
        name = column if column.isprintable() and 0 < len(column) <= 40 else short_repr(column)
        return DataError(f"{self}, column {name}: {problem}")


Records = Iterator[tuple[Place, Mapping[str, object]]]
Header = Callable[[Place, Sequence[str], str], tuple[Sequence[str], bool]]


@dataclass(frozen=True)
class DataFile:
    """A file as it was read once: what is made of it and its digest are of the same bytes."""

    path: Path
    content: bytes

    @classmethod
    def read(cls, path: Path) -> Self:
        """The file. Raises DataError as `read_bytes` does."""
        return cls(path, read_bytes(path, MAX_FILE_BYTES))

    @property
    def digest(self) -> str:
        """The SHA-256, in hexadecimal, by which the identity of a study knows the file."""
        return digest_of(self.content)


def read_records(file: DataFile, header: Header) -> Records:
    """The rows of a TSV, CSV, JSON, JSON lines or Parquet file: the place and the values by column.

    The values of a table of text are text.

    Args:
        header: the names of the columns of a table of text, by its first row and its delimiter; and whether that row
            is a header. It may raise.

    Raises:
        DataError: it is none of these formats.
    """
    path, content = file.path, file.content
    if content.startswith(PARQUET):
        return _parquet_records(path, content)
    text = decode(path, content)
    if re.match(r"\s*\[", text):
        return _json_records(path, text)
    return _json_lines(path, text) if re.match(r"\s*{", text) else _table_records(path, text, header)


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


def digest_of(content: bytes) -> str:
    """The SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def decode(path: Path, content: bytes) -> str:
    """The text of a file, without its byte order mark. Line ends are kept as they are.

    It is UTF-8; or UTF-16, which its byte order mark tells; or CP949, as Korean Windows writes.

    Raises:
        DataError: the file is none of these.
    """
    try:
        is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        with suppress(UnicodeDecodeError):
            text = content.decode("cp949")
            if _HANGUL.search(text):
                return text
        line = content.count(b"\n", 0, error.start) + 1
        found = content[error.start : error.start + 1].hex()
        raise DataError(f"{path}, line {line}: not UTF-8 (byte 0x{found}); save the file as UTF-8") from None


def _parquet_records(path: Path, content: bytes) -> Records:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{path}: a Parquet file, which pyarrow reads: pip install 'foldrace[parquet]'") from None
    try:
        records = parquet.read_table(io.BytesIO(content)).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from None
    return ((Place(path, number), record) for number, record in enumerate(records, 1))


# Tables: TSV and CSV


def _table_records(path: Path, text: str, header: Header) -> Records:
    lines = list(io.StringIO(text, newline=""))
    delimiter = "\t" if "\t" in next(line for line in lines if line.strip("\r\n")) else ","
    columns: Sequence[str] = ()
    for place, cells in _table_rows(path, lines, delimiter):
        if not columns:
            columns, is_header = header(place, cells, delimiter)
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


# JSON


def _json_records(path: Path, text: str) -> Records:
    """The objects of a list. They are decoded one by one, because only so is the line of each known."""
    decoder = json.JSONDecoder(object_pairs_hook=each_key_once)
    position = _skip_space(text, 0)
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
        yield Place(path, line, number), record
        position = _skip_space(text, end)
        if text[position : position + 1] != ",":
            break
    if text[position : position + 1] != "]":
        raise _not_json(path, text, position, "expected a comma or the end of the list")
    if text[position + 1 :].strip():
        raise _not_json(path, text, _skip_space(text, position + 1), "expected nothing after the list")


def _json_lines(path: Path, text: str) -> Records:
    for number, line in enumerate(re.split(r"\r\n?|\n", text), 1):  # `splitlines` knows ends that text may hold
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=each_key_once)
        except (ValueError, RecursionError) as error:
            problem = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(f"{path}, line {number}: not an object of JSON lines: {problem}") from None
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: expected an object, found {short_repr(record)}")
        yield Place(path, number), record


def each_key_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON. Raises ValueError where a key is there twice: of its values, one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {short_repr(keys.most_common(1)[0][0])} is there more than once in an object")
    return found


def _not_json(path: Path, text: str, position: int, problem: str) -> DataError:
    line = text.count("\n", 0, position) + 1
    return DataError(
        f"{path}, line {line}: not a JSON list of rows: {problem}, found {short_repr(text[position : position + 40])}"
    )


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1].isspace():
        position += 1
    return position
