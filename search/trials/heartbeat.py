"""The thread that keeps a lease alive while its trial makes progress, and ends the worker when the trial hangs.

It survives outages of any length. No error ends it silently, because without a heartbeat a living trial is lost.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from foldrace.storage.errors import StorageError
from foldrace.studies.study import Study

HEARTBEAT_SECONDS = 10.0  # between two beats
MIN_HANG_SECONDS = 1800.0  # a download, or a final fold's predictions on a CPU, are silent for so long and do not hang
HANG_INTERVALS = 10  # usual intervals between two signs of progress
HUNG = 70  # the exit status of a worker that hung: EX_SOFTWARE
_logger = logging.getLogger("foldrace.search")


def end_process() -> None:
    """End this process at once: a loop that hangs cannot be asked to stop."""
    os._exit(HUNG)


@dataclass(frozen=True)
class HeartbeatSettings:
    """How a lease is kept alive.

    Attributes:
        seconds: between two beats; 0: no thread beats, and `Claim.beat` is called instead.
        clock: seconds that only go forward; leases are watched by it too.
        on_hang: called in the heartbeat's thread when the training loop hangs.
    """

    seconds: float = HEARTBEAT_SECONDS
    clock: Callable[[], float] = time.monotonic
    on_hang: Callable[[], None] = end_process


USUAL = HeartbeatSettings()


def refuse_short_lease(study: Study, heartbeat: HeartbeatSettings = USUAL) -> None:
    """Raise StorageError for a lease time that two late heartbeats would end."""
    if study.search.lease_seconds < 3 * heartbeat.seconds:
        raise StorageError(
            f"search.lease_seconds: {study.search.lease_seconds:g} is shorter than three heartbeats; "
            f"give at least {3 * heartbeat.seconds:g}"
        )


class Heartbeat:
    """Calls `beat` every `settings.seconds` until `stop`, or until it returns False: the lease is lost."""

    def __init__(self, beat: Callable[[], bool], settings: HeartbeatSettings) -> None:
        self._beat, self._settings = beat, settings
        self._began = self._last = self._silent_since = settings.clock()
        self._signs = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop beating. A beat that waits for the database is not waited for."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def touch(self) -> None:
        """Take note that the loop made progress."""
        self._last = self._silent_since = self._settings.clock()
        self._signs += 1

    @property
    def hangs(self) -> bool:
        """Whether the loop has been silent for ten times its usual interval, and for half an hour at least."""
        usual = (self._last - self._began) / self._signs if self._signs else 0.0
        return self._silence() > max(MIN_HANG_SECONDS, HANG_INTERVALS * usual)

    def once(self) -> bool:
        """Beat once; False when there is nothing left to keep alive. Errors of `beat` pass through."""
        if self.hangs:
            told = "training has made no step for %.0f s, so this worker ends; another one continues the trial"
            _logger.error(told, self._silence())
            self._settings.on_hang()
            return False
        try:
            return self._beat()
        except Exception:
            self._silent_since = self._settings.clock()  # the loop may wait for the same database
            raise

    def _silence(self) -> float:
        return self._settings.clock() - self._silent_since

    def _run(self) -> None:
        pause = self._settings.seconds
        while not self._stop.wait(pause):
            try:
                if not self.once():
                    return
                pause = self._settings.seconds
            except Exception as error:
                # Repeated soon at first, because an outage that ends must not cost the lease.
                pause = min(self._settings.seconds, 1.0 if pause == self._settings.seconds else 2 * pause)
                _logger.warning("the database did not take a sign of life; it is sent again (%s)", type(error).__name__)
