"""Notes on disk of the leases that an outage kept a worker from releasing: an outage is no attempt at a trial.

A worker that ends in an outage cannot tell the database. It leaves a file in the run's folder, and whoever claims next
in that folder releases the lease.
"""

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from foldrace.storage.errors import StorageError
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.leases.lease import Lease

logger = logging.getLogger("foldrace.worker")


class OutageNotes:
    """The notes of one run, a file for each lease. Without a folder there are none."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def leave(self, lease: Lease) -> None:
        """Note that this lease is to be released. A note that cannot be written is logged: the attempt then counts."""
        if self._folder is None:
            return
        try:
            atomic_write(self._folder / lease.token, json.dumps(asdict(lease)))
        except StorageError as error:
            logger.warning("the outage counts as an attempt at the trial: %s", error)

    def settle(self, release: Callable[[Lease], None]) -> None:
        """Release every lease that is noted, and delete its note. Errors of `release` pass through."""
        for note in [] if self._folder is None else self._folder.glob("[0-9a-f]*"):
            with suppress(FileNotFoundError):  # another worker has just settled it
                release(Lease(**json.loads(note.read_text(encoding="utf-8"))))
                note.unlink()
