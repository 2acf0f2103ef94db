"""The tables of a database: made once, migrated when an older foldrace made them, refused when a newer one did."""

import sqlalchemy as sa

from foldrace.storage import tables
from foldrace.storage.address import without_password
from foldrace.storage.engine.dialect import Dialect
from foldrace.storage.engine.optuna_storage import make_optuna_tables
from foldrace.storage.errors import StorageError


def ensure_tables(engine: sa.Engine, dialect: Dialect, create: bool) -> None:
    """Make the tables where there are none, or bring those of an older foldrace up to date.

    Raises:
        StorageError: there are none and `create` is False, or a newer foldrace made them.
    """
    with dialect.read_only(), engine.begin() as connection:
        found, address = _read_version(connection), without_password(engine.url)
    if found is None and not create:
        raise StorageError(f"{address}: not a database of foldrace; `foldrace run` makes one")
    if found is None or found < tables.VERSION:
        with dialect.exclusive(engine) as connection:
            _make_or_migrate(connection)
    elif found > tables.VERSION:
        raise StorageError(
            f"{address}: made by a newer foldrace (tables of version {found}, this one knows "
            f"{tables.VERSION}); update foldrace"
        )


def _read_version(connection: sa.Connection) -> int | None:
    if not sa.inspect(connection).has_table(tables.version.name):
        return None
    found: int | None = connection.execute(sa.select(tables.version.c.version)).scalar()
    return found


def _make_or_migrate(connection: sa.Connection) -> None:
    found = _read_version(connection)
    if found is None:
        make_optuna_tables(connection)
        tables.ours.create_all(connection)
        connection.execute(sa.insert(tables.version).values(id=1, version=tables.VERSION))
        return
    for step in range(found, tables.VERSION):
        tables.MIGRATIONS[step](connection)
    connection.execute(sa.update(tables.version).values(version=tables.VERSION))
