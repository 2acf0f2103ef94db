"""PostgreSQL: a server that may vanish, restart, or drop a connection at any moment."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

_ADVISORY_LOCK = 0x666F6C6472616365  # "foldrace"
_CONNECTION = {
    "connect_timeout": 10,
    "application_name": "foldrace",
    # Else a connection to a machine that vanished blocks its worker for hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


class Postgresql:
    """A server that processes of any machine share."""

    def __init__(self, url: sa.URL) -> None:
        self._url = url

    def engine_arguments(self) -> dict[str, Any]:
        given = {key: value for key, value in _CONNECTION.items() if key not in self._url.query}
        return {"hide_parameters": True, "connect_args": given, "pool_pre_ping": True}

    def configure(self, engine: sa.Engine) -> None:
        event.listen(engine, "connect", _set_up)

    def prepare(self, create: bool) -> None:
        """Nothing: the database itself is made by whoever administers the server."""

    @contextmanager
    def exclusive(self, engine: sa.Engine) -> Iterator[None]:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(_ADVISORY_LOCK)))
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(_ADVISORY_LOCK)))

    def read_only(self) -> AbstractContextManager[None]:
        return nullcontext()  # readers and writers do not wait for each other here

    def checkpoint(self, engine: sa.Engine) -> None:
        """Nothing: nobody copies the server's files."""

    def hold_snapshot(self, connection: sa.Connection) -> None:
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


def _set_up(connection: Any, _: Any) -> None:
    # A worker that is stopped in the middle of a transaction must not keep its rows from the others.
    connection.execute("SET idle_in_transaction_session_timeout = '30s'")
    connection.commit()
