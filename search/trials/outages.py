"""Which leases their workers left because of an outage: an outage is no attempt at a trial.

A worker that ends by an outage cannot tell the database. It leaves a file in the run's folder, and whoever claims next
in that folder releases the lease.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from foldrace.storage.errors import StorageError
from foldrace.storage.files.atomic import atomic_write


class OutageNotes:
    """The notes of one run, a file for each lease. Without a folder there are none."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def leave(self, token: str) -> None:
        """Note that an outage ended the attempt whose lease has this token; where that cannot be written, it counts."""
        if self._folder is not None:
            with suppress(StorageError):
                atomic_write(self._folder / token, "")

    def settle(self, release: Callable[[str], None]) -> None:
        """Release each noted lease by its token, and forget the notes. Any error of `release` passes through."""
        for note in [] if self._folder is None else self._folder.glob("[0-9a-f]*"):
            release(note.name)
            note.unlink(missing_ok=True)
