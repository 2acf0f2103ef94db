"""One process at a time: a lock on a file, which the death of its holder releases."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from foldrace.storage.errors import StorageError, as_storage_error


@contextmanager
def locked(path: Path, timeout_seconds: float = -1.0) -> Iterator[None]:
    """Keep out other processes of this machine, and of others where the file system's locks hold.

    Raises:
        StorageError: another process has kept the lock for `timeout_seconds` (-1: wait for ever), or its file cannot be
            written.
    """
    lock = filelock.FileLock(path, timeout=timeout_seconds)
    with as_storage_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise StorageError(f"{path}: another process has kept this lock for {timeout_seconds:g} s") from error
    try:
        yield
    finally:
        lock.release()


def try_lock(handle: int) -> bool:
    """Lock an open file; False while another process has it. Where a file system has no locks, nobody is seen."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
