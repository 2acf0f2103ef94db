"""The thread that keeps a lease alive while its trial makes progress, and ends the worker when it hangs.

It survives outages of any length, and it never lets an error end it silently: a dead heartbeat loses a living trial.
"""

import logging
import os
import threading
from collections.abc import Callable

from foldrace.storage.errors import StorageError
from foldrace.studies.study import Study

HEARTBEAT_SECONDS = 10.0  # between two beats
LEAST_SILENCE = 1800.0  # seconds; a download, or a final fold's predictions on a CPU, take that long and do not hang
TIMES_AS_USUAL = 10
HUNG = 70  # exit status of a worker that hung: EX_SOFTWARE
_logger = logging.getLogger("foldrace.search")


def refuse_short_lease(study: Study, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
    """Raise StorageError for a lease time that two late heartbeats would end."""
    if study.search.lease_seconds < 3 * heartbeat_seconds:
        raise StorageError(
            f"search.lease_seconds: {study.search.lease_seconds:g} is shorter than three heartbeats; "
            f"give at least {3 * heartbeat_seconds:g}"
        )


def end_process() -> None:
    """A loop that hangs cannot be asked to stop."""
    os._exit(HUNG)


class Heartbeat:
    """Calls `beat` every `interval` seconds until `stop`, or until it returns False: the lease is lost."""

    def __init__(
        self,
        beat: Callable[[], bool],
        interval: float,
        clock: Callable[[], float],
        on_hang: Callable[[], None] = end_process,
    ) -> None:
        self._beat, self._interval, self._clock, self._on_hang = beat, interval, clock, on_hang
        self._began = self._last = clock()
        self._signs = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop beating; a beat that waits for the database is not waited for."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def touch(self) -> None:
        """The loop made progress."""
        self._last = self._clock()
        self._signs += 1

    @property
    def hangs(self) -> bool:
        """Silent for ten times its usual interval, and for half an hour at least."""
        usual = (self._last - self._began) / self._signs if self._signs else 0.0
        return self._clock() - self._last > max(LEAST_SILENCE, TIMES_AS_USUAL * usual)

    def once(self) -> bool:
        """One beat; False when there is nothing left to keep alive."""
        if self.hangs:
            _logger.error("the training loop has been silent for %.0f s: it hangs", self._clock() - self._last)
            self._on_hang()
            return False
        return self._beat()

    def _run(self) -> None:
        pause = self._interval
        while not self._stop.wait(pause):
            try:
                if not self.once():
                    return
                pause = self._interval
            except Exception as error:
                # Soon again at first: an outage that ends must not cost the lease.
                pause = min(self._interval, 1.0 if pause == self._interval else 2 * pause)
                _logger.warning("a heartbeat failed and will be repeated: %s", type(error).__name__)
