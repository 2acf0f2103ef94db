"""Which failures of a database pass by themselves, how long they are waited out, and what is said of them then.

Only idempotent work may be repeated: when a connection drops, nobody knows whether the commit arrived.
"""

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa

from foldrace.storage.address import redact, without_password
from foldrace.storage.errors import OutageError, StorageError

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE, _SLICE = 0.05, 5.0, 0.5  # seconds
_STOP_SECONDS = 2.0  # work goes on for so long after a stop: a last word may pass through a dropped connection
_DISK_FULL = "53100"  # PostgreSQL's code; more room does not come by itself


@dataclass(frozen=True)
class RetryPolicy:
    """How long work is repeated while the database is away.

    Attributes:
        patience_seconds: after so long an outage is an error.
        lock_seconds: how long one try waits for a lock of SQLite.
        should_stop: whether this process was asked to end. A wait then ends within seconds, as an outage.
        clock, sleep: a test's stand still.
    """

    patience_seconds: float = 600.0
    lock_seconds: float = 60.0
    should_stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


PATIENT = RetryPolicy()


def cause_of(error: BaseException) -> sa.exc.SQLAlchemyError | None:
    """The database's own error; Optuna wraps it in a StorageInternalError with a message about something else."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, sa.exc.SQLAlchemyError):
        found = found.__cause__
    return found


def is_passing(error: BaseException) -> bool:
    """A dropped connection, a server that restarts, a database that is locked: worth another try."""
    cause = cause_of(error)
    if isinstance(cause, sa.exc.TimeoutError):
        return True
    if not isinstance(cause, sa.exc.DBAPIError):
        return False
    if isinstance(cause.orig, sqlite3.Error):
        code = getattr(cause.orig, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
    if cause.connection_invalidated:
        return True
    return isinstance(cause, sa.exc.OperationalError) and getattr(cause.orig, "sqlstate", None) != _DISK_FULL


def wait_out(work: Callable[[], T], policy: RetryPolicy) -> T:
    """Repeat `work` through passing failures for as long as the policy says, then raise the last one."""
    end, pause = policy.clock() + policy.patience_seconds, _FIRST_PAUSE
    while True:
        try:
            return work()
        except Exception as error:
            if policy.should_stop():
                end, pause = min(end, policy.clock() + _STOP_SECONDS), min(pause, _SLICE)
            if not is_passing(error) or policy.clock() + pause > end:
                raise
        # Spread out, or all workers would come back at the same moment.
        _sleep(pause * random.uniform(0.5, 1.0), policy)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _sleep(seconds: float, policy: RetryPolicy) -> None:
    """Sleep in slices, because a signal's handler wakes nobody."""
    while seconds > 0:
        policy.sleep(min(seconds, _SLICE))
        seconds = 0.0 if policy.should_stop() else seconds - _SLICE


@contextmanager
def translate_errors(url: sa.URL) -> Iterator[None]:
    """Turn what the database or its driver says into a StorageError of one line that shows no password.

    Clashes of keys, for the caller to handle, and wrong statements, which are faults of ours, pass through.
    """
    try:
        yield
    except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
        raise
    except Exception as error:
        raise _explained(error, url) from None


def _explained(error: Exception, url: sa.URL) -> Exception:
    cause, address = cause_of(error), without_password(url)
    kind = OutageError if is_passing(error) else StorageError
    if isinstance(cause, sa.exc.TimeoutError):
        return kind(f"{address}: no connection became free")
    if isinstance(cause, sa.exc.DBAPIError):
        return kind(f"{address}: {redact(str(cause.orig), url)}")
    return error
