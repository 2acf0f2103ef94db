"""Notes on disk of the leases that an outage kept a worker from releasing: an outage is no attempt at a trial.

A worker that ends in an outage cannot tell the database. It leaves a file in the run's folder, and whoever claims next
in that folder releases the lease.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from foldrace.storage.errors import StorageError
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.leases.lease import Lease

_LONGEST = 10_000  # bytes of a note
logger = logging.getLogger("foldrace.worker")


class OutageNotes:
    """The notes of one run, a file for each lease. Without a folder there are none."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._damaged: set[Path] = set()

    def leave(self, lease: Lease) -> None:
        """Note that this lease is to be released. A note that cannot be written is logged: the attempt then counts."""
        if self._folder is None:
            return
        try:
            atomic_write(self._folder / lease.token, json.dumps(asdict(lease)))
        except StorageError as error:
            logger.warning("the outage counts as an attempt at the trial: %s", error)

    def settle(self, release: Callable[[Lease], object]) -> None:
        """Release every lease that is noted, and delete its note. Errors of `release` pass through.

        A file that is no note is named in the log, once, and left alone: the attempt then counts.
        """
        for note in [] if self._folder is None else self._folder.glob("[0-9a-f]*"):
            if note in self._damaged:
                continue
            try:
                lease = _read(note)
            except FileNotFoundError:
                continue  # another worker has just settled it
            except (OSError, ValueError):
                self._damaged.add(note)
                logger.warning("%s: not the note of an outage; it is passed over", note)
                continue
            release(lease)
            note.unlink(missing_ok=True)


def _read(note: Path) -> Lease:
    """The lease of a note. Raises OSError or ValueError where somebody else wrote the file, or damaged it."""
    if note.is_symlink() or (note.exists() and not note.is_file()):
        raise ValueError("not a file")
    with note.open("rb") as file:
        lease = TypeAdapter(Lease).validate_json(file.read(_LONGEST), strict=True)
    numbers = (lease.study_id, lease.trial_id, lease.attempt, lease.fold)
    if lease.token != note.name or not all(abs(number) < 2**31 for number in numbers):
        raise ValueError("not as it was written")
    return lease
