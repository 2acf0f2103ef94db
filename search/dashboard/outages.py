"""The dashboard while its database is away: an answer within seconds, in one line."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import bottle
import sqlalchemy as sa

from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.errors import StorageError

_SECONDS = 3.0  # a database that says nothing for so long is away
_AT_ONCE = 8  # threads that may hang in the driver


class OutagePlugin:
    """A plugin of Bottle that asks the database first, and answers 503 in its place."""

    name, api = "foldrace-outage", 2

    def __init__(self, database: Database) -> None:
        self._database = database
        self._free = threading.BoundedSemaphore(_AT_ONCE)

    def apply(self, answer: Callable[..., Any], route: Any) -> Callable[..., Any]:
        if route.rule.startswith(("/static", "/favicon")):
            return answer

        def answered(*args: Any, **named: Any) -> Any:
            try:
                reason = self._reason()
                return _unavailable(reason) if reason else answer(*args, **named)
            except StorageError as error:  # it went away meanwhile
                return _unavailable(str(error))

        return answered

    def _reason(self) -> str:
        """Why the database is away, in one line; empty while it answers. The driver itself may hang for a minute."""
        silent = f"{self._database.address}: has not answered for {_SECONDS:g} s"
        if not self._free.acquire(blocking=False):
            return silent
        found: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=self._ask, args=(found,), daemon=True).start()
        try:
            return found.get(timeout=_SECONDS)
        except Empty:
            return silent

    def _ask(self, found: "SimpleQueue[str]") -> None:
        try:
            self._database.read(_look)
            found.put("")
        except StorageError as error:
            found.put(str(error))
        finally:
            self._free.release()


def _look(connection: sa.Connection) -> None:
    for table in (tables.studies, tables.trials):
        connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).all()


def _unavailable(reason: str) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(
        f"the database is away; try again: {reason}\n", 503, {"Content-Type": "text/plain; charset=utf-8"}
    )
