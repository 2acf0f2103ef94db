"""A URL -> a database that many processes may share: our own tables, and Optuna's storage beside them.

SQLite and PostgreSQL alike. A dropped connection or a locked database is waited out, and a password is never shown.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from foldrace.storage.address import parse, without_password
from foldrace.storage.engine.dialect import Dialect
from foldrace.storage.engine.optuna_storage import open_optuna_storage
from foldrace.storage.engine.postgresql import Postgresql
from foldrace.storage.engine.schema import ensure_tables
from foldrace.storage.engine.sqlite import Sqlite
from foldrace.storage.errors import StorageError
from foldrace.storage.failures import in_one_line, translate_errors
from foldrace.storage.outages import PATIENT, RetryPolicy, wait_out
from foldrace.storage.wait_watch import WaitWatch

if TYPE_CHECKING:
    import optuna

T = TypeVar("T")


class Database:
    """An open database. `engine` is for our own tables, `storage` is Optuna's view of the same database."""

    def __init__(self, url: sa.URL, retries: RetryPolicy) -> None:
        """Use `open`: this one makes no tables."""
        self._url, self._retries = url, retries
        self._dialect: Dialect = Sqlite(url, retries) if url.drivername == "sqlite" else Postgresql(url)
        self._storage_lock = threading.Lock()
        self.engine = sa.create_engine(url, **self._dialect.engine_arguments())
        self._dialect.configure(self.engine)
        self._waits = WaitWatch(self.address, self._dialect.usual_wait)

    @classmethod
    def open(
        cls, url: str, wait_seconds: float = 0.0, *, create: bool = True, retries: RetryPolicy = PATIENT
    ) -> "Database":
        """Open a database, and make its tables where they are missing (unless `create` is False).

        Args:
            url: `sqlite:///FILE` or `postgresql+psycopg://USER@HOST/NAME`; a password may be left to PGPASSWORD
                or ~/.pgpass.
            wait_seconds: how long to wait for a server that does not answer yet.
            retries: how long `retry` repeats work through a later outage.

        Raises:
            OutageError: the database does not answer.
            StorageError: the URL is wrong, the server refuses it, or a newer foldrace made the database.
        """
        asked = parse(url)
        try:
            with translate_errors(asked):
                database = cls(asked, retries)
        except ImportError as error:
            address = without_password(asked)
            raise StorageError(f"{address}: its driver is not installed; install foldrace[postgres]") from error
        try:
            database._dialect.prepare(create)
            waits = replace(retries, patience_seconds=wait_seconds)
            database._wait_out(lambda: ensure_tables(database.engine, database._dialect, create), waits)
        except BaseException:
            database.close()
            raise
        return database

    @property
    def address(self) -> str:
        """The URL as it may be shown: without its password."""
        return without_password(self._url)

    @property
    def storage(self) -> "optuna.storages.BaseStorage":
        """Optuna's storage of this database; it caches finished trials, so there is one for each process.

        Its own methods try once; the first use raises what `retry` raises.
        """
        with self._storage_lock:
            return self.retry(lambda: self._storage)

    def retry(self, work: Callable[[], T]) -> T:
        """Do idempotent work, again and again through an outage, for at most the patience of this database.

        Raises:
            OutageError: the database has not answered for that long, or this process was asked to stop.
            StorageError: the database refuses the work (its disk is full, say, or the password has changed).
        """
        return self._wait_out(work, self._retries)

    def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """`retry` a transaction; `work` must do no harm when it is done twice."""
        return self.retry(lambda: self.transact_once(work))

    def transact_once(self, work: Callable[[sa.Connection], T]) -> T:
        """Try one transaction once; the driver's errors pass through."""
        with self.engine.begin() as connection:
            return work(connection)

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """`transact` for work that only reads: on SQLite it waits for no writer and holds none up."""
        with self.read_only():
            return self.transact(work)

    def snapshot(self, work: Callable[[sa.Connection], T]) -> T:
        """`read` from one snapshot: every statement of `work` sees the database as it was at the first one."""

        def from_snapshot(connection: sa.Connection) -> T:
            self._dialect.hold_snapshot(connection)
            return work(connection)

        return self.read(from_snapshot)

    def read_only(self) -> AbstractContextManager[None]:
        """Declare that this thread only reads meanwhile, through `engine` or `storage`."""
        return self._dialect.read_only()

    def checkpoint(self) -> None:
        """Let a copy of an SQLite file alone hold what was committed so far. It waits for nobody, and never fails."""
        self._dialect.checkpoint(self.engine)

    def disconnect(self) -> None:
        """Leave the connections of a server, which has few, to others until there is work again."""
        self._dialect.disconnect(self.engine)

    def close(self) -> None:
        self._waits.close()
        self.engine.dispose()

    @cached_property
    def _storage(self) -> "optuna.storages.BaseStorage":
        import optuna

        return optuna.storages.get_storage(open_optuna_storage(self.engine, self._dialect))

    def _wait_out(self, work: Callable[[], T], retries: RetryPolicy) -> T:
        with translate_errors(self._url), self._waits.watched() as wait:

            def tell(error: Exception) -> None:
                wait.reason = in_one_line(error, self._url)

            return wait_out(work, retries, tell)
