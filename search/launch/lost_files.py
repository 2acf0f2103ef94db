"""The files of a run at work, which somebody may remove, move or replace: nothing that is done then would be kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foldrace.search.session import Session, storage_url
from foldrace.storage.address import parse, sqlite_file
from foldrace.storage.errors import StorageError

FileId = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class WatchedFiles:
    """Files, and which they were when the run began."""

    known: Mapping[Path, FileId]

    def refuse_lost(self) -> None:
        """Raise StorageError where one was removed, moved or replaced; who may not look takes it as there."""
        for path, before in self.known.items():
            try:
                is_lost = _file_id(path) != before
            except (FileNotFoundError, NotADirectoryError):
                is_lost = True
            except OSError:
                continue
            if is_lost:
                raise StorageError(f"{path}: was removed, moved or replaced while the run was at work; bring it back")


def watch_files(session: Session, study_file: Path) -> WatchedFiles:
    """The study file that the workers read, and the database where it is a file."""
    url = parse(storage_url(session.study, session.workspace))
    files = [study_file] if url.drivername != "sqlite" else [study_file, sqlite_file(url)]
    return WatchedFiles({path: _file_id(path) for path in files})


def _file_id(path: Path) -> FileId:
    found = path.stat()
    return found.st_dev, found.st_ino
