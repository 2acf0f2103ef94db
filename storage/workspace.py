"""Where the files of a run live.

A path that is made from a name in the data or the database never leaves the workspace.
"""

import os
import re
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

from foldrace.errors import hide_passwords
from foldrace.storage.errors import StorageError, as_storage_error
from foldrace.storage.files.atomic import PARTIAL
from foldrace.storage.files.locking import locked

WORKSPACE = Path("runs")  # the folder of all runs, unless another one is named
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ATTEMPT = re.compile(r"attempt-(\d+)")


class Workspace:
    """The folder of one study's run: docs/design.md, section 7. Folders are made when something is written."""

    def __init__(self, root: str | Path, study_name: str) -> None:
        """Raises StorageError when the name could leave `root`, or `root` is the URL of a database."""
        self.root = Path(root).absolute()
        if hide_passwords(str(self.root)) != str(self.root):
            raise StorageError(f"{root}: the URL of a database, not a folder of runs; search.storage takes it")
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
        return self.job(f"final-{final}")

    def job(self, job: str) -> "Workspace":
        """The workspace of a job beside the search, such as final-1 or rescore-1, inside this one."""
        return Workspace(self.folder, job)

    def inside(self, *names: str) -> Path:
        """A path in the run's folder, of names that come from somewhere else. Raises StorageError."""
        return self.folder.joinpath(*map(_checked, names))

    def refuse_unwritable(self) -> None:
        """Raise StorageError where the run's folder cannot be made or written; what is tried for that does not stay."""
        with as_storage_error(self.folder):
            there = next(place for place in (self.folder, *self.folder.parents) if place.exists())
            with TemporaryDirectory(prefix=PARTIAL, dir=there):
                pass

    def refuse_links(self) -> None:
        """Raise StorageError where a folder in that of the run is a link to one outside: its files are not the run's.

        The run's folder itself may be one.
        """
        for place, names, _ in os.walk(self.folder):
            for path in (Path(place, name) for name in names):
                if path.is_symlink() and not path.resolve().is_relative_to(self.folder.resolve()):
                    leads = f"a link to {path.resolve()}, out of the run's folder, which is not followed"
                    raise StorageError(f"{path}: {leads}; put the folder itself there")

    def lock(self, what: str, timeout_seconds: float = -1.0) -> AbstractContextManager[None]:
        """Keep other processes from `what` meanwhile: `locked` of a file in the run's folder. Raises StorageError."""
        return locked(self.folder / f".{_checked(what)}.lock", timeout_seconds)


def is_run(folder: Path) -> bool:
    """Whether a search or a final job was begun in the folder; one that could not begin leaves other files."""
    return any(folder.glob("study.*")) or any(folder.glob("final-*"))


def attempts_in(fold: Path) -> list[Path]:
    """The folders `attempt-N` in the folder of a fold, the newest first."""
    found = [(int(match[1]), path) for path in fold.glob("attempt-*") if (match := _ATTEMPT.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise StorageError(f"{name!r}: not a name for a file; letters, digits, dot, dash and underscore make one")
    return name
