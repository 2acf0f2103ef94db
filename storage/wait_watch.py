"""Says what a process waits for, from a thread of its own: who waits inside a driver cannot say it."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

WAITING = "still waiting for"  # every line about a wait has it
_FIRST_SECONDS, _AGAIN_SECONDS, _LOOK_SECONDS = 5.0, 60.0, 1.0
_logger = logging.getLogger("foldrace.storage")


class Wait:
    """Something that is under way. `reason`: why it takes so long, as far as it is known."""

    def __init__(self, reason: str) -> None:
        self.reason, self.begun = reason, time.monotonic()


class WaitWatch:
    """Watches what is under way at one database: a line after five seconds, one each minute, one at the end."""

    def __init__(self, address: str, usual_reason: str) -> None:
        self._address, self._usual_reason = address, usual_reason
        self._waits: dict[Wait, None] = {}
        self._told_at: float | None = None
        self._lock, self._closed, self._thread = threading.Lock(), threading.Event(), threading.Thread()

    @contextmanager
    def watched(self) -> Iterator[Wait]:
        """Watch what is done meanwhile."""
        self._start()
        wait = Wait(self._usual_reason)
        self._waits[wait] = None
        try:
            yield wait
        finally:
            del self._waits[wait]

    def close(self) -> None:
        """Watch no longer."""
        self._closed.set()

    def _start(self) -> None:
        with self._lock:
            if not self._thread.is_alive() and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="wait-watch", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        long = [wait for wait in list(self._waits) if now - wait.begun >= _FIRST_SECONDS]
        if not long:
            if self._told_at is not None:
                _logger.warning("no longer waiting for %s", self._address)
            self._told_at = None
        elif self._told_at is None or now - self._told_at >= _AGAIN_SECONDS:
            self._told_at = now
            _logger.warning("%s %s: %s", WAITING, self._address, long[0].reason)
