"""The digests of the files in a folder: whether it still holds what was written there."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from foldrace.storage.errors import StorageError


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a folder, by its name. Raises StorageError where one cannot be read."""
    return {path.name: digest_of(path) for path in sorted(folder.iterdir()) if path.is_file()}


def find_changed(folder: Path, digests: Mapping[str, str]) -> str:
    """The first file that is not as its digest says, and what is wrong; empty where all are, or none is known.

    Raises:
        StorageError: a file cannot be read.
    """
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file():
            return f"{path}: missing"
        if digest_of(path) != digest:
            return f"{path}: damaged, or of another run or fold"
    return ""


def find_added(folder: Path, digests: Mapping[str, str]) -> str:
    """The first file that was not written there, and what to do; empty where there is none, or nothing is known.

    A library may read it beside the others, as an adapter or as tokens that were added. None reads a hidden one.
    """
    there = sorted(path.name for path in folder.glob("*") if not path.is_dir() and not path.name.startswith("."))
    added = next((name for name in there if name not in digests), None)
    return "" if added is None or not digests else f"{folder / added}: was put there later; remove it"


def digest_of(path: Path) -> str:
    """The SHA-256 of a file. Raises StorageError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
