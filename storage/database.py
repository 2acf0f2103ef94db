"""A URL -> a database that many processes may share: our own tables, and Optuna's storage beside them.

SQLite and PostgreSQL alike. A dropped connection or a locked database is waited out, and a password is never shown.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import filelock
import sqlalchemy as sa
from sqlalchemy import event

from foldrace.storage import outages, tables
from foldrace.storage.address import parse, redact, sqlite_file, warn_of_network_file_system, without_password
from foldrace.storage.errors import OutageError, StorageError
from foldrace.storage.outages import LOCK_SLICE_SECONDS, PATIENT, RetryPolicy

if TYPE_CHECKING:
    import optuna

T = TypeVar("T")
_ADVISORY_LOCK = 0x666F6C6472616365  # "foldrace"
_POSTGRES_CONNECTION = {
    "connect_timeout": 10,
    "application_name": "foldrace",
    # Else a connection to a machine that vanished blocks its worker for hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


class Database:
    """An open database. `engine` is for our own tables, `storage` is Optuna's view of the same database."""

    def __init__(self, url: sa.URL, retries: RetryPolicy) -> None:
        self._url, self._retries = url, retries
        self._local = threading.local()
        self._storage_lock = threading.Lock()
        self.engine = sa.create_engine(url, **self._engine_settings())
        self._configure(self.engine)

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
            StorageError: the URL is wrong, or a newer foldrace made it.
        """
        asked = parse(url)
        try:
            database = cls(asked, retries)
        except ImportError:
            raise StorageError(
                f"{without_password(asked)}: its driver is not installed; install foldrace[postgres]"
            ) from None
        try:
            database._prepare_file(create)
            outages.wait_out(lambda: database._prepare(create), replace(retries, patience_seconds=wait_seconds))
        except Exception as error:
            database.close()
            raise database._explained(error) from None
        return database

    def __repr__(self) -> str:
        return f"Database({self.address})"

    @property
    def address(self) -> str:
        """The URL as it may be shown: without its password."""
        return without_password(self._url)

    @property
    def is_sqlite(self) -> bool:
        return self._url.drivername == "sqlite"

    @property
    def storage(self) -> "optuna.storages.BaseStorage":
        """Optuna's storage of this database; it caches finished trials, so there is one for each process."""
        with self._storage_lock:
            return self._storage

    def retry(self, work: Callable[[], T]) -> T:
        """Do idempotent work, again and again through an outage, for at most the patience of this database.

        Raises:
            OutageError: the database has not answered for that long.
            StorageError: it cannot do it (its disk is full, say).
        """
        try:
            return outages.wait_out(work, self._retries)
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
            raise  # a clash of keys is for the caller to handle, a wrong statement is a fault of ours
        except Exception as error:
            raise self._explained(error) from None

    def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """`retry` a transaction; `work` must do no harm when it is done twice."""
        return self.retry(lambda: self.transact_once(work))

    def transact_once(self, work: Callable[[sa.Connection], T]) -> T:
        """One transaction, tried once; the driver's errors pass through."""
        with self.engine.begin() as connection:
            return work(connection)

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """`transact` for work that only reads: on SQLite it waits for no writer and holds none up."""
        with self.read_only():
            return self.transact(work)

    def snapshot(self, work: Callable[[sa.Connection], T]) -> T:
        """`read` from one snapshot: every statement of `work` sees the database as it was at the first one."""

        def from_snapshot(connection: sa.Connection) -> T:
            if not self.is_sqlite:  # there, every transaction reads from one
                connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            return work(connection)

        return self.read(from_snapshot)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """This thread only reads meanwhile, through `engine` or `storage`."""
        before = getattr(self._local, "reading", False)
        self._local.reading = True
        try:
            yield
        finally:
            self._local.reading = before

    def close(self) -> None:
        self.engine.dispose()
        if "_storage" in self.__dict__:
            self._optuna_engine.dispose()

    @cached_property
    def _storage(self) -> "optuna.storages.BaseStorage":
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.storages.get_storage(self._optuna_storage(create=False))

    def _optuna_storage(self, create: bool) -> "optuna.storages.RDBStorage":
        import optuna

        # Optuna fills a template in its URL, so a brace in a password has to be doubled.
        url = self._url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
        try:
            storage = optuna.storages.RDBStorage(
                url, engine_kwargs=self._engine_settings(), skip_table_creation=not create
            )
        except RuntimeError as error:  # tables of an Optuna that this one does not know
            raise StorageError(f"{self.address}: {error}") from None
        # Its connections so far were made before ours could be told how to behave.
        storage.engine.dispose()
        self._configure(storage.engine)
        self._optuna_engine = storage.engine
        return storage

    def _engine_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"hide_parameters": True}
        if self.is_sqlite:
            return settings | {"connect_args": {"timeout": self._retries.lock_seconds}}
        given = {key: value for key, value in _POSTGRES_CONNECTION.items() if key not in self._url.query}
        return settings | {"connect_args": given, "pool_pre_ping": True}

    def _configure(self, engine: sa.Engine) -> None:
        event.listen(engine, "connect", self._set_up_sqlite if self.is_sqlite else _set_up_postgres)
        if self.is_sqlite:
            event.listen(engine, "begin", self._begin)

    def _begin(self, connection: sa.Connection) -> None:
        if getattr(self._local, "reading", False):
            connection.exec_driver_sql("BEGIN")
            return
        driver = connection.connection.cursor()
        driver.execute(f"PRAGMA busy_timeout={_milliseconds(min(LOCK_SLICE_SECONDS, self._retries.lock_seconds))}")
        try:
            self._begin_immediate(connection)
        finally:
            driver.execute(f"PRAGMA busy_timeout={_milliseconds(self._retries.lock_seconds)}")
            driver.close()

    def _begin_immediate(self, connection: sa.Connection) -> None:
        """Take the write lock at once: who reads first and writes later would lose what he read to another writer.

        It is waited for in slices, because no signal is handled inside SQLite's own waiting.
        """
        slices = math.ceil(self._retries.lock_seconds / LOCK_SLICE_SECONDS)
        while True:
            slices -= 1
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except sa.exc.OperationalError as error:
                if slices <= 0 or not outages.is_passing(error) or self._retries.should_stop():
                    raise

    def _set_up_sqlite(self, connection: Any, _: Any) -> None:
        connection.isolation_level = None  # `_begin` begins; the driver would begin late, and not IMMEDIATE
        connection.execute(f"PRAGMA busy_timeout={_milliseconds(self._retries.lock_seconds)}")
        connection.execute("PRAGMA synchronous=FULL")

    def _prepare_file(self, create: bool) -> None:
        if not self.is_sqlite:
            return
        path = sqlite_file(self._url)
        if not create and not path.is_file():
            raise StorageError(f"{self.address}: no such database; `foldrace run` makes one")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.address}: its folder cannot be made: {error.strerror}") from None
        warn_of_network_file_system(path)

    def _prepare(self, create: bool) -> None:
        found = self._version()
        if found is None and not create:
            raise StorageError(f"{self.address}: not a database of foldrace; `foldrace run` makes one")
        if found is None or found < tables.VERSION:
            with self._alone():
                self._make_tables()
        elif found > tables.VERSION:
            raise StorageError(
                f"{self.address}: made by a newer foldrace (tables of version {found}, this one knows "
                f"{tables.VERSION}); update foldrace"
            )

    def _version(self) -> int | None:
        with self.read_only(), self.engine.begin() as connection:
            if not sa.inspect(connection).has_table(tables.version.name):
                return None
            found: int | None = connection.execute(sa.select(tables.version.c.version)).scalar()
            return found

    def _make_tables(self) -> None:
        """Optuna's tables first and our version last, so that a version found means that all is there."""
        found = self._version()
        if found is None:
            self._optuna_storage(create=True).engine.dispose()
        with self.engine.begin() as connection:
            if found is None:
                tables.ours.create_all(connection)
                connection.execute(sa.insert(tables.version).values(id=1, version=tables.VERSION))
                return
            for step in range(found, tables.VERSION):
                tables.MIGRATIONS[step](connection)
            connection.execute(sa.update(tables.version).values(version=tables.VERSION))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time: tables are made once."""
        if self.is_sqlite:
            with filelock.FileLock(f"{sqlite_file(self._url)}.lock"):
                with self.engine.connect() as connection:
                    connection.exec_driver_sql("COMMIT")  # the journal's mode cannot change inside a transaction
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                yield
            return
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(_ADVISORY_LOCK)))
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(_ADVISORY_LOCK)))

    def _explained(self, error: Exception) -> Exception:
        """What the database or its driver says, as one line without secrets; any other error as it is."""
        cause = outages.cause_of(error)
        kind = OutageError if outages.is_passing(error) else StorageError
        if isinstance(cause, sa.exc.TimeoutError):
            return kind(f"{self.address}: no connection became free")
        if isinstance(cause, sa.exc.DBAPIError):
            return kind(f"{self.address}: {redact(str(cause.orig), self._url)}")
        return error


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _set_up_postgres(connection: Any, _: Any) -> None:
    # A worker that is stopped in the middle of a transaction must not keep its rows from the others.
    connection.execute("SET idle_in_transaction_session_timeout = '30s'")
    connection.commit()
