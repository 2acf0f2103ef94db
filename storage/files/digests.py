"""The digests of the files in a folder: whether it still holds what was written there."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from foldrace.storage.errors import StorageError


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a folder, by its name. Raises StorageError where one cannot be read."""
    return {path.name: _digest(path) for path in sorted(folder.iterdir()) if path.is_file()}


def find_changed(folder: Path, digests: Mapping[str, str]) -> str:
    """The first file that is not as its digest says, and what is wrong; empty where all are, or none is known.

    Raises:
        StorageError: a file cannot be read.
    """
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file():
            return f"{path}: missing"
        if _digest(path) != digest:
            return f"{path}: damaged, or of another run or fold"
    return ""


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
