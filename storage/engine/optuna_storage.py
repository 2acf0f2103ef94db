"""Optuna's storage of a database, on our own engine: it behaves as ours does, and opens no connections of its own."""

from contextlib import closing
from typing import TYPE_CHECKING

import sqlalchemy as sa

from foldrace.storage.address import without_password
from foldrace.storage.engine.dialect import Dialect
from foldrace.storage.errors import StorageError

if TYPE_CHECKING:
    import optuna


def open_optuna_storage(engine: sa.Engine, dialect: Dialect) -> "optuna.storages.RDBStorage":
    """Optuna's storage on `engine`, in whose database its tables are.

    Raises:
        StorageError: the tables are those of another version of Optuna.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    class OnEngine(optuna.storages.RDBStorage):
        # Optuna makes an engine of its URL and sets it here; that one never connects.
        engine = property(lambda _: engine, lambda _, made: None)

    with dialect.read_only():
        storage = OnEngine(f"{engine.url.drivername}://", skip_compatibility_check=True, skip_table_creation=True)
        _refuse_other(engine, storage.get_current_version(), storage.get_head_version())
    return storage


def make_optuna_tables(connection: sa.Connection) -> None:
    """Make Optuna's tables in a transaction of ours; Optuna itself would need three connections at once.

    Raises:
        StorageError: there are tables of another version of Optuna.
    """
    import optuna
    from optuna.storages._rdb.models import BaseModel

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made, marks = optuna.storages.RDBStorage("sqlite://").engine, sa.MetaData()
    marks.reflect(made, only=["version_info", "alembic_version"])
    for tables in (BaseModel.metadata, marks):
        tables.create_all(connection)
    with closing(made.connect()) as source:
        for mark in marks.sorted_tables:
            if connection.execute(sa.select(mark)).first() is None:
                connection.execute(sa.insert(mark), [dict(row) for row in source.execute(sa.select(mark)).mappings()])
        version = sa.select(marks.tables["alembic_version"])
        _refuse_other(connection.engine, connection.scalar(version), source.scalar(version))
    made.dispose()


def _refuse_other(engine: sa.Engine, found: str | None, known: str | None) -> None:
    if found != known:
        other = f"its tables are those of another Optuna ({found}; the one here knows {known})"
        raise StorageError(f"{without_password(engine.url)}: {other}; install that, or run `optuna storage upgrade`")
