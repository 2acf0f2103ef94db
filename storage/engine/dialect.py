"""What the databases do differently when one is opened and shared. Each has a file of its own beside this one."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import sqlalchemy as sa


class Dialect(Protocol):
    """One kind of database, as an engine needs to know it.

    Attributes:
        usual_wait: why its driver does not answer, where nothing else is known.
    """

    usual_wait: str

    def engine_arguments(self) -> dict[str, Any]:
        """The keyword arguments of `create_engine`."""

    def configure(self, engine: sa.Engine) -> None:
        """Set up every connection that `engine` makes from now on."""

    def prepare(self, create: bool) -> None:
        """Make what a first connection needs. Raises StorageError, also when it is missing and `create` is False."""

    def exclusive(self, engine: sa.Engine) -> AbstractContextManager[sa.Connection]:
        """A transaction that keeps every other process out of its own `exclusive` meanwhile."""

    def read_only(self) -> AbstractContextManager[None]:
        """Let the transactions that this thread begins meanwhile take no lock for writing."""

    def hold_snapshot(self, connection: sa.Connection) -> None:
        """Let every statement of a transaction that begins here, and only reads, see the same state."""

    def checkpoint(self, engine: sa.Engine) -> None:
        """Bring what was committed into the database's own file, where that is another one; it waits for nobody."""

    def disconnect(self, engine: sa.Engine) -> None:
        """Close the connections that nobody uses, where a server has few of them; the next work opens one."""
