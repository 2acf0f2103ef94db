"""SIGTERM and SIGINT as a request that the worker's loop reads."""

import os
import signal
import time

SAME_WISH_SECONDS = 2.0


class StopSignals:
    """Turns a first SIGTERM or SIGINT into a wish, and a later one into an end at once.

    A scheduler often signals every process of a job while the supervisor passes the signal on: what arrives within
    two seconds is the same wish.
    """

    def __init__(self) -> None:
        self._asked_at: float | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    @property
    def asked(self) -> bool:
        return self._asked_at is not None

    def _on_signal(self, number: int, frame: object) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        elif time.monotonic() - self._asked_at > SAME_WISH_SECONDS:
            os._exit(128 + number)
