"""SIGTERM and SIGINT as a request that a loop reads."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SAME_REQUEST_SECONDS = 2.0


@contextmanager
def handle_signals(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Have SIGTERM and SIGINT call `handler` meanwhile; outside of the main thread, where Python forbids it, none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


class StopSignals:
    """Turns a first signal into a request to stop, and a later one into an exit at once.

    A scheduler often signals every process of a job while the supervisor passes the signal on. What arrives within two
    seconds is therefore the same request.

    Attributes:
        number: of the first signal; 0 until one comes.
    """

    def __init__(self) -> None:
        self._requested_at = 0.0
        self.number = 0

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.number != 0

    def receive(self, number: int, _frame: object) -> None:
        """Handle a signal; `handle_signals` calls it."""
        if not self.requested:
            self.number, self._requested_at = number, time.monotonic()
        elif time.monotonic() - self._requested_at > SAME_REQUEST_SECONDS:
            os._exit(128 + number)
