"""Which failures of a database pass by themselves, and how long they are waited out.

Only idempotent work may be repeated: when a connection drops, nobody knows whether the commit arrived.
"""

import random
import sqlite3
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # seconds
_DISK_FULL = "53100"  # PostgreSQL's code; more room does not come by itself


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


def wait_out(work: Callable[[], T], patience: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> T:
    """Repeat `work` through passing failures for `patience` seconds, then raise the last one."""
    end = clock() + patience
    pause = _FIRST_PAUSE
    while True:
        try:
            return work()
        except Exception as error:
            if not is_passing(error) or clock() + pause > end:
                raise
        # Spread out, or all workers would come back at the same moment.
        sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, _LONGEST_PAUSE)
