"""SQLite: a file with one writer at a time, whose lock is taken when a transaction begins."""

import math
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event

from foldrace.storage.address import sqlite_file, warn_of_network_file_system, without_password
from foldrace.storage.errors import StorageError, as_storage_error
from foldrace.storage.failures import is_passing
from foldrace.storage.files.locking import locked
from foldrace.storage.outages import RetryPolicy

_SLICE_SECONDS = 1.0  # SQLite waits for a lock inside C, where no signal's handler runs: no longer at a time


class Sqlite:
    """A file that processes of one machine share."""

    usual_wait = "another process holds its lock, or the disk is slow"

    def __init__(self, url: sa.URL, retries: RetryPolicy) -> None:
        self._url, self._retries = url, retries
        self._local = threading.local()

    def engine_arguments(self) -> dict[str, Any]:
        once = {"poolclass": sa.pool.NullPool} if self._may_only_read() else {}  # others may change what is immutable
        return {"hide_parameters": True, "connect_args": {"timeout": self._retries.lock_seconds}} | once

    def configure(self, engine: sa.Engine) -> None:
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", self._begin)

    def prepare(self, create: bool) -> None:
        path = sqlite_file(self._url)
        if not create and not path.is_file():
            raise StorageError(f"{without_password(self._url)}: no such database; `foldrace run` makes one")
        with as_storage_error(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        warn_of_network_file_system(path)

    @contextmanager
    def exclusive(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with locked(Path(f"{sqlite_file(self._url)}.lock")):
            with engine.connect() as connection:
                connection.exec_driver_sql("COMMIT")  # the journal's mode cannot change inside a transaction
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            with engine.begin() as connection:
                yield connection

    @contextmanager
    def read_only(self) -> Iterator[None]:
        before = getattr(self._local, "read_only", False)
        self._local.read_only = True
        try:
            yield
        finally:
            self._local.read_only = before

    def hold_snapshot(self, connection: sa.Connection) -> None:
        """Nothing: every transaction reads from one snapshot."""

    def disconnect(self, engine: sa.Engine) -> None:
        """Nothing: an open file keeps nobody out."""

    def checkpoint(self, engine: sa.Engine) -> None:
        """Move the write-ahead log into the file, so that a copy of the file alone holds it.

        PASSIVE neither waits for a reader or a writer nor holds one up; what a reader still needs stays in the log.
        """
        with suppress(sa.exc.SQLAlchemyError, sqlite3.Error), closing(engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").close()

    def _may_only_read(self) -> bool:
        path = sqlite_file(self._url)
        return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))

    def _connect(self, _: Any, record: Any, arguments: Any, options: dict[str, Any]) -> sqlite3.Connection | None:
        """Open a file that this user may only read: beside it, no log can be made. None: it is opened as usual."""
        path = sqlite_file(self._url)
        if not self._may_only_read():
            return None
        # While another user has it open, the log is there, and tells what is newer.
        kind = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
        connection: sqlite3.Connection = sqlite3.connect(f"file:{quote(str(path))}?{kind}", uri=True, **options)
        return connection

    def _begin(self, connection: sa.Connection) -> None:
        if getattr(self._local, "read_only", False):
            connection.exec_driver_sql("BEGIN")
            return
        with _lock_timeout(connection, min(_SLICE_SECONDS, self._retries.lock_seconds), self._retries.lock_seconds):
            self._begin_immediate(connection)

    def _begin_immediate(self, connection: sa.Connection) -> None:
        """Take the write lock: a transaction that reads before it locks could act on what another one has changed."""
        slices = math.ceil(self._retries.lock_seconds / _SLICE_SECONDS)
        while True:
            slices -= 1
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except sa.exc.OperationalError as error:
                if slices <= 0 or not is_passing(error) or self._retries.should_stop():
                    raise


def discard_unused(path: Path) -> None:
    """Remove the file of a database in which no study is, unless somebody has it open."""
    with suppress(sqlite3.Error, OSError), closing(sqlite3.connect(path, timeout=0)) as connection:
        if _has_studies(connection):
            return
        # To leave the write-ahead log, SQLite has to be alone with the file; it then stays so until the end.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        if not _has_studies(connection):
            path.unlink()
            Path(f"{path}.lock").unlink(missing_ok=True)


def _has_studies(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM studies LIMIT 1").fetchone() is not None


def _set_up(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # `_begin` begins; the driver would begin late, and not IMMEDIATE
    connection.execute("PRAGMA synchronous=FULL")


@contextmanager
def _lock_timeout(connection: sa.Connection, seconds: float, usual: float) -> Iterator[None]:
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(seconds * 1000)}")
    try:
        yield
    finally:
        cursor.execute(f"PRAGMA busy_timeout={int(usual * 1000)}")
        cursor.close()
