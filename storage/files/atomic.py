"""How files are written: beside their name, synced, then moved into place. A reader never sees one half written."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from foldrace.storage.errors import StorageError, as_storage_error
from foldrace.storage.files.exchange import exchange

PARTIAL = ".partial-"  # what was being written when a process died; never read
_PREVIOUS = ".previous-"  # the folder that is being replaced, where two names cannot be exchanged


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a whole file or leave the one before as it was; text is UTF-8.

    Raises:
        StorageError: it cannot be written: no room, no right.
    """
    data = content.encode() if isinstance(content, str) else content
    with new_file(path) as partial:
        partial.write_bytes(data)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file to write, that appears under `path` whole, or not at all; the one before stays until then.

    Raises:
        StorageError: it cannot be written: no room, no right; or it is a device, a pipe or a socket.
    """
    refuse_device(path)
    with as_storage_error(path):
        partial = _name_partial(path)
        try:
            partial.touch(exist_ok=False)
            mode = partial.stat().st_mode
            yield partial
            partial.chmod(mode)  # safetensors puts a file for its owner alone in its place
            _sync(partial)
            partial.replace(path)
            _sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A folder to fill, that appears under `path` whole, or not at all; the one before stays until then.

    A process that is killed leaves the old folder or the new one under `path`. Where the file system cannot exchange
    two names, `restore_folder` has to be called first.

    Args:
        replace: when False, a folder that is there and holds anything is an error.

    Raises:
        StorageError: it cannot be written: no room, no right.
    """
    with as_storage_error(path):
        partial = _name_partial(path)
        try:
            restore_folder(path)
            partial.mkdir()
            mode = partial.stat().st_mode & 0o666
            yield partial
            _settle_tree(partial, mode)
            if replace:
                _replace_folder(partial, path)
            else:
                partial.rename(path)
            _sync(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def refuse_device(path: Path) -> None:
    """Raise StorageError for a path such as /dev/null, which a file would replace, and which may have no end."""
    with as_storage_error(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            raise StorageError(f"{path}: a device, a pipe or a socket, not a file; give the path of a file")


def no_follow(path: str, flags: int) -> int:
    """An opener for `open` that fails where the path is a link."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def restore_folder(path: Path) -> None:
    """Bring back the folder that a process set aside, when it was killed before it had put the new one in its place."""
    with suppress(OSError):
        if not path.exists():
            _previous(path).rename(path)


def _replace_folder(partial: Path, path: Path) -> None:
    """Move a folder to `path`; the one that is there goes away."""
    while not _move_folder(partial, path):
        with suppress(FileNotFoundError):  # another process is replacing it, too
            if exchange(partial, path):
                return  # `partial` is the old one now
            shutil.rmtree(_previous(path), ignore_errors=True)
            path.rename(_previous(path))
    shutil.rmtree(_previous(path), ignore_errors=True)


def _move_folder(partial: Path, path: Path) -> bool:
    """Rename a folder; return False when another one with files in it has that name."""
    try:
        partial.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _previous(path: Path) -> Path:
    return path.with_name(_PREVIOUS + path.name)


def _name_partial(path: Path) -> Path:
    """A name that nobody uses, beside `path`, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's: its files are for their owner alone, and to learn the umask is to change it for all threads.
    return path.with_name(PARTIAL + uuid.uuid4().hex)


def _settle_tree(folder: Path, mode: int) -> None:
    """Give each file its mode, and sync the files, then the folders that name them."""
    for path in sorted([*folder.rglob("*"), folder], key=Path.is_dir):
        if not path.is_dir():
            path.chmod(mode)
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
