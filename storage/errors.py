"""The errors of this room, importable without a database."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foldrace.errors import FoldraceError


class StorageError(FoldraceError):
    """The database or the workspace cannot be used as asked."""


class OutageError(StorageError):
    """The database does not answer. It may later, so the same command is worth another try."""

    status = os.EX_TEMPFAIL


class DriverError(Exception):
    """An error of a database's driver, as text without passwords. It is seen only as the cause of a StorageError."""


@contextmanager
def as_storage_error(path: Path) -> Iterator[None]:
    """Turn an OSError of a write to `path` into a StorageError of one line that says what is wrong, and where."""
    try:
        yield
    except OSError as error:
        above = isinstance(error.filename, str) and path.parent.is_relative_to(error.filename)
        raise StorageError(
            f"{error.filename if above else path}: cannot be written: {_reason(error, above)}"
        ) from error


def _reason(error: OSError, above: bool) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "no room left; what was there before is whole"
    if above and isinstance(error, FileExistsError):
        return "not a folder"
    return error.strerror or str(error)
