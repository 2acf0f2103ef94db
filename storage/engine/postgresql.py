"""PostgreSQL: a server that may vanish, restart, or drop a connection at any moment."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.util.queue import Empty

from foldrace.storage.address import SECRETS, without_password
from foldrace.storage.errors import StorageError

_ADVISORY_LOCK = 0x666F6C6472616365  # "foldrace"
# What psycopg takes beside libpq's options, and no text can say.
_NOT_IN_A_URL = ("autocommit", "conninfo", "context", "cursor_factory", "prepare_threshold", "row_factory")
_REPEATED = ("host", "port", *SECRETS)
_READ_ONLY = "25006"  # SQLSTATE
_CONNECTION = {
    "connect_timeout": 10,
    "application_name": "foldrace",
    "prepare_threshold": None,  # a pooler may give each transaction another session, which knows no prepared statement
    # Else a connection to a machine that vanished blocks its worker for hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


class _Pool(sa.QueuePool):
    """A pool that can close the connections that nobody uses, while others are in use."""

    def close_idle(self) -> None:
        with suppress(Empty):
            while True:
                self._pool.get(block=False).close()
                self._dec_overflow()


logging.getLogger(f"{__name__}.{_Pool.__name__}").setLevel(logging.WARNING)  # as sqlalchemy's own pools


class Postgresql:
    """A server that processes of any machine share."""

    usual_wait = "the server has not answered yet"

    def __init__(self, url: sa.URL) -> None:
        _refuse_options(url)
        self._url = url

    def engine_arguments(self) -> dict[str, Any]:
        given = {key: value for key, value in _CONNECTION.items() if key not in self._url.query}
        # A role may have few connections: a process that works keeps one, and opens others only for threads that meet.
        sizes = {"poolclass": _Pool, "pool_size": 1, "max_overflow": 14}
        return {"hide_parameters": True, "connect_args": given, "pool_pre_ping": True, **sizes}

    def configure(self, engine: sa.Engine) -> None:
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "handle_error", _leave_read_only_server)

    def prepare(self, create: bool) -> None:
        """Nothing: the database itself is made by whoever administers the server."""

    @contextmanager
    def exclusive(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        # The lock is the transaction's: a pooler may give the next one another session.
        with engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            yield connection

    def read_only(self) -> AbstractContextManager[None]:
        return nullcontext()  # readers and writers do not wait for each other here

    def checkpoint(self, engine: sa.Engine) -> None:
        """Nothing: nobody copies the server's files."""

    def disconnect(self, engine: sa.Engine) -> None:
        assert isinstance(engine.pool, _Pool)
        engine.pool.close_idle()

    def hold_snapshot(self, connection: sa.Connection) -> None:
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


def _refuse_options(url: sa.URL) -> None:
    """Raise StorageError for what the driver takes but cannot read from a URL; libpq reads its own options as text."""
    address = without_password(url)
    for key, value in url.query.items():
        if key in _NOT_IN_A_URL:
            raise StorageError(f"{address}: ?{key}= is no option of a URL, and foldrace needs none here; leave it out")
        if not isinstance(value, str) and key not in _REPEATED:
            raise StorageError(f"{address}: ?{key}= is there {len(value)} times; give it once")


def _set_up(connection: Any, _: Any) -> None:
    # A worker that is stopped in the middle of a transaction must not keep its rows from the others.
    connection.execute("SET idle_in_transaction_session_timeout = '30s'")
    connection.execute("SET lock_timeout = '4s'")  # one try; who waits says so, and may be asked to stop
    connection.commit()


def _leave_read_only_server(context: sa.engine.ExceptionContext) -> None:
    """Drop all connections to a server that ceased to take writes: after a failover, another one takes them."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True
