"""The errors of this room, importable without a database."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from foldrace.errors import FoldraceError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # blocks, inodes or a quota
_NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)
_WHOLE = "what was there before is whole"
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)


class StorageError(FoldraceError):
    """The database or the workspace cannot be used as asked."""


class OutageError(StorageError):
    """The database does not answer. It may later, so the same command is worth another try."""

    status = os.EX_TEMPFAIL


class DiskError(StorageError):
    """The disk has no room, or what lies on it may not be written any more. The same command goes on when it may."""

    status = os.EX_IOERR


class DriverError(Exception):
    """An error of a database's driver, as text without passwords. It is seen only as the cause of a StorageError."""


@contextmanager
def as_storage_error(path: Path) -> Iterator[None]:
    """Turn the error of a write to `path` into a StorageError of one line that says what is wrong, and where."""
    try:
        yield
    except Exception as error:
        found = _os_error(error)
        if found is None:
            raise
        above = isinstance(found.filename, str) and path.parent.is_relative_to(found.filename)
        kind = DiskError if found.errno in (*_NO_ROOM, *_NO_RIGHT) else StorageError
        place = found.filename if above else path
        raise kind(f"{place}: cannot be written: {_reason(found, above, Path(place))}") from error


@contextmanager
def as_disk_error() -> Iterator[None]:
    """Turn what any library says of a disk without room, or of a file that may not be written, into a DiskError.

    A path that no file can have becomes a StorageError.
    """
    try:
        yield
    except Exception as error:
        found = None if isinstance(error, FoldraceError) else _os_error(error)
        if found is not None and found.errno in _NO_PATH:
            raise StorageError(f"{found.filename}: {found.strerror}") from error
        if found is None or not (found.errno in _NO_ROOM or (found.errno in _NO_RIGHT and found.filename)):
            raise
        path = None if found.filename is None else Path(os.fsdecode(found.filename))
        place = "the output or the disk" if path is None else path
        raise DiskError(f"{place}: cannot be written: {_reason(found, above=False, path=path)}") from error


def room_left(path: Path) -> str:
    """How much may still be written on the disk of a path, in words; empty where nobody can say."""
    for place in (path, *path.parents):
        with suppress(OSError):
            disk = os.statvfs(place)
            inodes = f" and {disk.f_favail} inodes" if disk.f_files else ""  # some file systems do not count them
            return f"{disk.f_bavail * disk.f_frsize // 1000} kB{inodes} are left on the disk of {place}"
    return ""


def _os_error(error: BaseException) -> OSError | None:
    """The system's own error, which safetensors and tokenizers only tell in the text of an error of theirs."""
    if isinstance(error, OSError):
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number is not None and not isinstance(error, FoldraceError):
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return None if error.__cause__ is None else _os_error(error.__cause__)


def _reason(error: OSError, above: bool, path: Path | None) -> str:
    if error.errno == errno.EDQUOT:
        return f"the quota of this user is used up; {_WHOLE}"
    if error.errno in _NO_ROOM:
        left = room_left(path) if path is not None and error.errno == errno.ENOSPC else ""
        return f"no room left; {_WHOLE}" + (f"; {left}" if left else "")
    if above and isinstance(error, FileExistsError):
        return "not a folder"
    return error.strerror or str(error)
