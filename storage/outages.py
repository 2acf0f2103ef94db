"""Waits out the failures of a database that pass by themselves.

Only idempotent work may be repeated: when a connection drops, nobody knows whether the commit arrived.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from foldrace.storage.failures import is_passing

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE, _SLICE = 0.05, 5.0, 0.5  # seconds
_STOP_SECONDS = 2.0  # work goes on for so long after a stop: a last word may pass through a dropped connection


@dataclass(frozen=True)
class RetryPolicy:
    """How long work is repeated while the database is away.

    Attributes:
        patience_seconds: after so long an outage is an error.
        lock_seconds: how long one try waits for a lock of SQLite.
        should_stop: whether this process was asked to end. A wait then ends within seconds, as an outage. A try that is
            under way is not cut short: a connection to PostgreSQL takes up to 10 s for each of its hosts, and a
            statement up to 60 s when the server's machine has vanished.
        clock, sleep: tests replace them, and wait for nothing.
    """

    patience_seconds: float = 600.0
    lock_seconds: float = 60.0
    should_stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


PATIENT = RetryPolicy()


def wait_out(work: Callable[[], T], policy: RetryPolicy, tell: Callable[[Exception], None] = lambda _: None) -> T:
    """Repeat `work` through passing failures for as long as the policy says, then raise the last one.

    Args:
        tell: gets each failure that is waited out.
    """
    end, pause = policy.clock() + policy.patience_seconds, _FIRST_PAUSE
    while True:
        try:
            return work()
        except Exception as error:
            if policy.should_stop():
                end, pause = min(end, policy.clock() + _STOP_SECONDS), min(pause, _SLICE)
            if not is_passing(error) or policy.clock() + pause > end:
                raise
            tell(error)
        # Spread out, or all workers would come back at the same moment.
        _sleep(pause * random.uniform(0.5, 1.0), policy)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _sleep(seconds: float, policy: RetryPolicy) -> None:
    """Sleep in slices: the handler of a signal does not wake who sleeps."""
    while seconds > 0:
        policy.sleep(min(seconds, _SLICE))
        seconds = 0.0 if policy.should_stop() else seconds - _SLICE
