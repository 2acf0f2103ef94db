"""How many places a cluster has, read in a thread of its own.

Where the head is lost, Ray answers nothing for a minute, and then ends the process without a word of ours.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from foldrace.search.cluster.ray.connection import HeadLostError

READ_SECONDS = 2.0
LOST_SECONDS = 20.0  # without an answer; Ray ends the process after 60


@dataclass(frozen=True)
class Places:
    """For how many workers a cluster has room, and for how many of them nobody uses it."""

    all: int
    free: int


class PlaceReader:
    """Reads the places of a cluster again and again until it is closed; calling it gives what was read last."""

    def __init__(self, read: Callable[[], Places], clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self._last, self._read_at = read(), clock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="place-reader", daemon=True)
        self._thread.start()

    def __call__(self) -> Places:
        """The places by now. Raises HeadLostError where the cluster does not answer any more."""
        if self._clock() - self._read_at > LOST_SECONDS:
            raise HeadLostError(f"the head of the Ray cluster has not answered for {LOST_SECONDS:g} s")
        return self._last

    def close(self) -> None:
        """Read no more. A read that gets no answer is not waited for."""
        self._over.set()
        self._thread.join(READ_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(READ_SECONDS):
            with suppress(Exception):  # whatever it is, that is no answer
                self._last, self._read_at = self._read(), self._clock()
