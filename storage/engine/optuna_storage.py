"""Optuna's storage of a database, on our own engine: it behaves as ours does, and opens no connections of its own."""

from typing import TYPE_CHECKING

import sqlalchemy as sa

from foldrace.storage.address import without_password
from foldrace.storage.engine.dialect import Dialect
from foldrace.storage.errors import StorageError

if TYPE_CHECKING:
    import optuna


def open_optuna_storage(engine: sa.Engine, dialect: Dialect, *, create: bool) -> "optuna.storages.RDBStorage":
    """Optuna's storage on `engine`; `create` makes its tables.

    Raises:
        StorageError: the tables are those of another version of Optuna.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    class OnEngine(optuna.storages.RDBStorage):
        # Optuna makes an engine of its URL and sets it here; that one never connects.
        engine = property(lambda _: engine, lambda _, made: None)

    with dialect.read_only():  # it reads through a second connection while it may write through the first
        storage = OnEngine(f"{engine.url.drivername}://", skip_compatibility_check=True, skip_table_creation=not create)
        found, known = storage.get_current_version(), storage.get_head_version()
    if found != known:
        other = f"its tables are those of another Optuna ({found}; this one, {optuna.__version__}, knows {known})"
        raise StorageError(f"{without_password(engine.url)}: {other}; install that, or run `optuna storage upgrade`")
    return storage
