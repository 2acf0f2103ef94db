"""SIGTERM and SIGINT as a request that the worker's loop reads."""

import os
import signal
import time

SAME_REQUEST_SECONDS = 2.0


class StopSignals:
    """Turns a first SIGTERM or SIGINT into a request to stop, and a later one into an exit at once.

    A scheduler often signals every process of a job while the supervisor passes the signal on. What arrives within two
    seconds is therefore the same request.
    """

    def __init__(self) -> None:
        self._requested_at: float | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._requested_at is not None

    def _on_signal(self, number: int, frame: object) -> None:
        if self._requested_at is None:
            self._requested_at = time.monotonic()
        elif time.monotonic() - self._requested_at > SAME_REQUEST_SECONDS:
            os._exit(128 + number)
