"""Durations as people write them, and the time limits of commands."""

import time


def parse_duration(text: str) -> float:
    """The seconds of a duration such as `11h`, `90m`, `30s` or `1h30m`.

    Raises:
        ValueError: it is not one.
    """
    total, number = 0.0, ""
    for character in text.strip().lower():
        if character in "hms" and number:
            total += float(number) * {"h": 3600, "m": 60, "s": 1}[character]
            number = ""
        elif character in "0123456789.":
            number += character
        else:
            raise ValueError(text)
    if number or not total:
        raise ValueError(text)
    return total


class TimeLimit:
    """A time limit that starts when it is made; without `seconds` there is none."""

    def __init__(self, seconds: float | None) -> None:
        self._end = float("inf") if seconds is None else time.monotonic() + seconds

    def seconds_left(self) -> float:
        """Until the limit; infinite without one, negative when it is over."""
        return self._end - time.monotonic()

    def is_over(self) -> bool:
        return self.seconds_left() <= 0
