"""How much of a worker's time the protocol of docs/design.md, section 5, takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

Part = Literal["claims", "belief", "reports", "judging", "heartbeats", "ends"]


class ProtocolTimer:
    """Adds up the seconds that each part of the protocol takes.

    Heartbeats run in a thread beside the training; they are counted as if they held it up.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._begun = clock, clock()
        self._spent: dict[Part, float] = dict.fromkeys(get_args(Part), 0.0)

    @contextmanager
    def timing(self, part: Part) -> Iterator[None]:
        """Count what happens inside towards `part`. One thread at a time may time a part."""
        begun = self._clock()
        try:
            yield
        finally:
            self._spent[part] += self._clock() - begun

    def __str__(self) -> str:
        lived, spent = max(self._clock() - self._begun, 1e-9), sum(self._spent.values())
        parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in self._spent.items())
        return f"the protocol took {spent:.2f} s of {lived:.2f} s ({spent / lived:.2%}): {parts}"
