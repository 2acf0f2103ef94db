"""The time limits of commands."""

import time


class TimeLimit:
    """A time limit that starts when it is made; without `seconds` there is none."""

    def __init__(self, seconds: float | None) -> None:
        self._end = float("inf") if seconds is None else time.monotonic() + seconds

    def seconds_left(self) -> float:
        """Until the limit; infinite without one, negative when it is over."""
        return self._end - time.monotonic()

    def is_over(self) -> bool:
        return self.seconds_left() <= 0
