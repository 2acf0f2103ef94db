"""Durations on the command line, and the time that is left of one."""

import time
from collections.abc import Callable


def seconds(text: str) -> float:
    """A duration such as `11h`, `90m`, `30s` or `1h30m`, in seconds.

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


def countdown(limit: float | None) -> Callable[[], float]:
    """Seconds left of a limit that starts now; infinite without one."""
    end = float("inf") if limit is None else time.monotonic() + limit
    return lambda: end - time.monotonic()
