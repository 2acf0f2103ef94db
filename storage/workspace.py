"""Where the files of a run live, and how they are written: beside their name, synced, then moved into place.

A path made from a name in the data or the database never leaves the workspace.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from foldrace.storage.errors import StorageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ATTEMPT = re.compile(r"attempt-(\d+)")
PARTIAL = ".partial-"  # what was being written when a process died; never read


class Workspace:
    """The folder of one study's run: docs/design.md, section 7. Folders are made when something is written."""

    def __init__(self, root: str | Path, study_name: str) -> None:
        """Raises StorageError when the name could leave `root`."""
        self.root = Path(root).absolute()
        self.folder = self.root / _checked(study_name)

    @property
    def study_file(self) -> Path:
        return self.folder / "study.toml"

    def trial(self, number: int) -> Path:
        return self.folder / f"trial-{number:05d}"

    def fold(self, number: int, fold: int) -> Path:
        return self.trial(number) / f"fold-{fold}"

    def final(self, final: int) -> "Workspace":
        """The workspace of a final job, inside this one."""
        return Workspace(self.folder, f"final-{final}")

    def inside(self, *names: str) -> Path:
        """A path in the run's folder, of names that come from somewhere else. Raises StorageError."""
        return self.folder.joinpath(*map(_checked, names))

    @contextmanager
    def lock(self, what: str, timeout_seconds: float = -1.0) -> Iterator[None]:
        """One process at a time on this machine, and on others where the file system's locks hold.

        Raises:
            StorageError: another process has kept the lock for `timeout_seconds` (-1: wait for ever).
        """
        path = self.folder / f".{_checked(what)}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(path, timeout=timeout_seconds):
                yield
        except filelock.Timeout:
            raise StorageError(f"{path}: another process has been at {what} for {timeout_seconds:g} s") from None


def attempts_in(fold: Path) -> list[Path]:
    """The folders `attempt-N` in the folder of a fold, the newest first.

    Each attempt writes into its own folder, so a worker that lost its trial disturbs nobody.
    """
    found = [(int(match[1]), path) for path in fold.glob("attempt-*") if (match := _ATTEMPT.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


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
        StorageError: it cannot be written: no room, no right.
    """
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            partial.chmod(0o666 & ~_umask())  # mkstemp's file is for its owner alone
            _sync(partial)
            partial.replace(path)
            _sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A folder to fill, that appears under `path` whole, or not at all.

    Args:
        replace: one that is there already is replaced; else, unless it is empty, that is an error.

    Raises:
        StorageError: it cannot be written: no room, no right.
    """
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
        try:
            yield partial
            partial.chmod(0o777 & ~_umask())
            _sync_tree(partial)
            if replace:
                _swap_in(partial, path)
            else:
                partial.rename(path)
            _sync_folder(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _swap_in(partial: Path, path: Path) -> None:
    """A folder cannot be renamed onto one that is not empty: the old one steps aside first."""
    if not path.exists():
        partial.rename(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
    path.rename(aside)
    partial.rename(path)
    shutil.rmtree(aside, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            _sync(path)
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            _sync_folder(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_sync_folder = _sync


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise StorageError(f"{name!r}: not a name for a file; letters, digits, dot, dash and underscore make one")
    return name


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "no room left; what was there before is whole" if full else error.strerror or str(error)
        raise StorageError(f"{path}: cannot be written: {what}") from error
