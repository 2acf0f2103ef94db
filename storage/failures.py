"""What a failure of a database means: whether it passes by itself, and what is said of it.

A password never reaches a message, nor the error that led to it.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from foldrace.storage.address import redact, sqlite_file, without_password
from foldrace.storage.errors import DiskError, DriverError, OutageError, StorageError, room_left

# SQLSTATEs of what is refused however often it is asked: authorization, no such database or schema, no right to an
# object, a limit of the server, no room on its disk.
_REFUSALS = ("28", "3D", "3F", "42501", "54", "53100")
_SERVER_FULL, _NO_RIGHT = "53100", "42501"
_OF_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
_NO_PASSWORD = "no password supplied"  # libpq's own words, which it does not translate
_ANSWER = re.compile(r" failed: [^:\n]+:  ([^\n]*)")  # the server's own: behind a severity, a colon and two spaces
_FULL = re.compile("too many connections for (role|database)")
_POOLER_REFUSAL = re.compile("no such (user|database)|(SASL|password) authentication failed")  # PgBouncer's


def is_passing(error: BaseException) -> bool:
    """Whether another try may succeed: a dropped connection, a server that restarts, a database that is locked."""
    cause = _cause_of(error)
    if isinstance(cause, sa.exc.TimeoutError | sa.exc.PendingRollbackError):
        return True  # after a lost connection, Optuna tries a second query in the same transaction
    if not isinstance(cause, sa.exc.DBAPIError):
        return False
    if isinstance(cause.orig, sqlite3.Error):
        return _code_of(cause) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
    if _is_refusal(cause):
        return False
    return cause.connection_invalidated or isinstance(cause, sa.exc.OperationalError)


def _is_of_disk(error: BaseException) -> bool:
    """Whether the disk of the database has no room, or its file may not be written."""
    cause = _cause_of(error)
    if not isinstance(cause, sa.exc.DBAPIError):
        return False
    return _code_of(cause) in _OF_DISK or getattr(cause.orig, "sqlstate", None) == _SERVER_FULL


def _is_read_only(error: BaseException) -> bool:
    return _code_of(_cause_of(error)) == sqlite3.SQLITE_READONLY


def _code_of(cause: sa.exc.SQLAlchemyError | None) -> int:
    """The primary result code of SQLite; 0 where it said nothing."""
    return getattr(getattr(cause, "orig", None), "sqlite_errorcode", 0) & 0xFF


@contextmanager
def translate_errors(url: sa.URL) -> Iterator[None]:
    """Turn what the database or its driver says into a StorageError of one line that shows no password.

    Its causes are kept as `DriverError`s. Clashes of keys, for the caller to handle, and wrong statements, which are
    faults of ours, pass through.
    """
    try:
        yield
    except Exception as error:
        message = _message_of(error)
        if message is None:
            raise
        kind = OutageError if is_passing(error) else DiskError if _is_of_disk(error) else StorageError
        if kind is DiskError and url.drivername == "sqlite" and not _is_read_only(error):
            message = "; ".join(filter(None, (message, room_left(sqlite_file(url)))))
        raise kind(f"{without_password(url)}: {redact(message, url)}") from _redacted(error, url)


def in_one_line(error: Exception, url: sa.URL) -> str:
    """What the database or its driver says, without passwords."""
    return redact(_message_of(error) or str(error), url)


def _message_of(error: Exception) -> str | None:
    """What the database or its driver says; None: nothing of its own, or what must pass through."""
    cause = _cause_of(error)
    if isinstance(cause, sa.exc.TimeoutError):
        return "no connection became free"
    if isinstance(cause, sa.exc.PendingRollbackError):
        return "the connection was lost"
    if isinstance(cause, sa.exc.ArgumentError):
        return str(cause)
    if not isinstance(cause, sa.exc.DBAPIError) or isinstance(cause, sa.exc.IntegrityError):
        return None
    if isinstance(cause, sa.exc.ProgrammingError) and not _is_refusal(cause):
        return None
    message = str(cause.orig)
    if getattr(cause.orig, "sqlstate", None) == _NO_RIGHT and cause.statement:
        return f"{message}; this role lacks the right to {cause.statement.split()[0].upper()} there"
    if _is_read_only(cause):
        return f"{message}; this user needs the right to write the file and its folder"
    return f"{message}; put it into PGPASSWORD or ~/.pgpass" if _NO_PASSWORD in message else message


def _cause_of(error: BaseException) -> sa.exc.SQLAlchemyError | None:
    """The database's own error; Optuna wraps it in a StorageInternalError with a message about something else."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, sa.exc.SQLAlchemyError):
        # Behind a StorageError is a failure that has been waited out already.
        found = None if isinstance(found, StorageError) else found.__cause__
    return found


def _is_refusal(error: sa.exc.DBAPIError) -> bool:
    """Whether PostgreSQL, or its driver, will never do what was asked, however often it is asked."""
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return str(sqlstate).startswith(_REFUSALS)
    if error.statement is not None or isinstance(error.orig, sqlite3.Error):
        return False
    is_misunderstood = isinstance(error, sa.exc.ProgrammingError)  # the driver does not know an option of the URL
    return is_misunderstood or _is_refused_connection(str(error.orig), getattr(error.orig, "pgconn", None))


def _is_refused_connection(message: str, connection: object) -> bool:
    """Tell a refusal from a lack of room, in what a server said to a new connection.

    libpq hands over no SQLSTATE here, only text, which may be in any language. A server that refuses a user or a
    database names it, in quotes; one that is starting, stopping or full names neither. (Where roles or databases have
    limits of their own, "too many connections for role" is known in English only.)

    Args:
        connection: the driver's, which knows what was asked for; None where none was begun.
    """
    if _NO_PASSWORD in message:
        return True
    asked = [getattr(connection, name, None) for name in ("user", "db")]
    names = "|".join(re.escape(name.decode()) for name in asked if name)
    named = re.compile(rf"[^\w\s]\s*({names})\s*[^\w\s]" if names else r"\Z.")
    answers = [answer for answer in _ANSWER.findall(message) if not _FULL.match(answer)]
    return any(_POOLER_REFUSAL.match(answer) or named.search(answer) for answer in answers)


def _redacted(error: BaseException, url: sa.URL) -> DriverError:
    """An error, with all that led to it, as text without passwords."""
    copy = DriverError(f"{type(error).__module__}.{type(error).__qualname__}: {redact(str(error), url)}")
    cause = error.__cause__ if error.__suppress_context__ else error.__cause__ or error.__context__
    copy.__cause__ = None if cause is None else _redacted(cause, url)
    return copy.with_traceback(error.__traceback__)
