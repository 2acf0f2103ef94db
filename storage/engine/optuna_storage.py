"""Optuna's storage of a database, on an engine that behaves as ours does."""

from typing import TYPE_CHECKING

import sqlalchemy as sa

from foldrace.storage.address import without_password
from foldrace.storage.engine.dialect import Dialect
from foldrace.storage.errors import StorageError

if TYPE_CHECKING:
    import optuna


def open_optuna_storage(url: sa.URL, dialect: Dialect, create: bool) -> "optuna.storages.RDBStorage":
    """Open Optuna's storage; `create` makes its tables.

    Raises:
        StorageError: the tables are those of an Optuna that this one does not know.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Optuna fills a template in its URL, so a brace in a password has to be doubled.
    template = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    arguments = dialect.engine_arguments()
    if create:  # used once: Optuna leaves a pool open when the making fails
        arguments |= {"poolclass": sa.pool.NullPool}
    try:
        storage = optuna.storages.RDBStorage(template, engine_kwargs=arguments, skip_table_creation=not create)
    except RuntimeError as error:
        raise StorageError(f"{without_password(url)}: {error}") from error
    storage.engine.dispose()  # its connections so far were made before they could be set up
    dialect.configure(storage.engine)
    return storage
