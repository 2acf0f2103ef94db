"""Work goes through dropped connections, locks and lost acknowledgements; what cannot pass is told."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.errors import OutageError, StorageError
from foldrace.storage.outages import RetryPolicy

Sleep = Callable[[float], None]


def open_impatient(
    url: str,
    now: list[float],
    meanwhile: Sleep = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Database:
    """A database that does `meanwhile` instead of sleeping, and moves the clock; it waits for no lock."""

    def sleep(seconds: float) -> None:
        now[0] += seconds
        meanwhile(seconds)

    retries = RetryPolicy(lock_seconds=0.01, should_stop=should_stop, clock=lambda: now[0], sleep=sleep)
    return Database.open(url, retries=retries)


def count_up(connection: sa.Connection) -> int:
    connection.execute(sa.update(tables.version).values(version=tables.version.c.version + 1))
    found: int = connection.execute(sa.select(tables.version.c.version)).scalar_one()
    return found


def test_dropped_connections_are_replaced(postgres_url: str, now: list[float]) -> None:
    database = open_impatient(postgres_url, now)
    for _ in range(3):
        assert database.transact(lambda c: c.execute(sa.text("SELECT 1")).scalar()) == 1
        drop_connections(postgres_url)
    assert database.storage.get_all_studies() == []
    database.close()


def test_a_connection_dropped_in_the_middle_is_no_half_work(postgres_url: str, now: list[float]) -> None:
    database = open_impatient(postgres_url, now)
    tries = []

    def work(connection: sa.Connection) -> int:
        found = count_up(connection)
        tries.append(found)
        if len(tries) == 1:
            drop_connections(postgres_url)
        connection.execute(sa.text("SELECT 1"))
        return found

    assert database.transact(work) == tables.VERSION + 1
    assert tries == [tables.VERSION + 1] * 2
    database.close()


@pytest.mark.parametrize("seconds", [0, 20, 60])
def test_a_lock_of_any_length_is_waited_out(tmp_path: Path, now: list[float], seconds: float) -> None:
    other = sqlite3.connect(tmp_path / "study.db", isolation_level=None, timeout=0)

    def let_go(_: float) -> None:
        if other.in_transaction and now[0] >= seconds:
            other.execute("ROLLBACK")

    database = open_impatient(f"sqlite:///{tmp_path / 'study.db'}", now, let_go)
    other.execute("BEGIN EXCLUSIVE")
    assert database.transact(count_up) == tables.VERSION + 1
    assert now[0] >= seconds
    other.close()
    database.close()


def test_patience_ends_with_one_line(tmp_path: Path, now: list[float]) -> None:
    database = open_impatient(f"sqlite:///{tmp_path / 'study.db'}", now)
    other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageError, match=r"study\.db: database is locked"):
        database.transact(count_up)
    assert 590 < now[0] <= 600
    other.close()
    database.close()


def test_a_wait_ends_soon_after_a_stop_is_asked_for(tmp_path: Path, now: list[float]) -> None:
    database = open_impatient(f"sqlite:///{tmp_path / 'study.db'}", now, should_stop=lambda: now[0] >= 100)
    other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OutageError, match=r"study\.db: database is locked"):
        database.transact(count_up)
    assert 100 <= now[0] <= 103
    other.close()
    database.close()


def test_work_after_a_stop_still_goes_through_a_short_lock(tmp_path: Path, now: list[float]) -> None:
    other = sqlite3.connect(tmp_path / "study.db", isolation_level=None, timeout=0)

    def let_go(_: float) -> None:
        if other.in_transaction:
            other.execute("ROLLBACK")

    database = open_impatient(f"sqlite:///{tmp_path / 'study.db'}", now, let_go, should_stop=lambda: True)
    other.execute("BEGIN EXCLUSIVE")
    assert database.transact(count_up) == tables.VERSION + 1
    other.close()
    database.close()


def test_a_signal_ends_the_wait_for_a_lock_of_sqlite_within_seconds(tmp_path: Path) -> None:
    asked = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: asked.set())
    database = Database.open(f"sqlite:///{tmp_path / 'study.db'}", retries=RetryPolicy(should_stop=asked.is_set))
    other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    begun = time.monotonic()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    with pytest.raises(OutageError):
        database.transact(count_up)
    assert time.monotonic() - begun < 15
    signal.signal(signal.SIGUSR1, before)
    other.close()
    database.close()


def test_a_full_disk_is_told_at_once_and_loses_nothing(tmp_path: Path, now: list[float]) -> None:
    database = open_impatient(f"sqlite:///{tmp_path / 'study.db'}", now)

    def fill(connection: sa.Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        count_up(connection)
        connection.execute(sa.insert(tables.studies).values(study_name="x" * 100_000))

    with pytest.raises(StorageError, match="full"):
        database.transact(fill)
    assert now[0] == 0
    assert database.read(lambda c: c.execute(sa.select(tables.version.c.version)).scalar()) == tables.VERSION
    database.close()


def test_a_full_disk_of_the_server_is_told_at_once(postgres_url: str, now: list[float]) -> None:
    database = open_impatient(postgres_url, now)
    full = (
        "DO $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$"
    )

    def fill(connection: sa.Connection) -> None:
        count_up(connection)
        connection.exec_driver_sql(full)

    with pytest.raises(StorageError, match="No space left on device"):
        database.transact(fill)
    assert now[0] == 0
    assert database.read(lambda c: c.execute(sa.select(tables.version.c.version)).scalar()) == tables.VERSION
    database.close()


def test_a_fault_of_ours_is_not_repeated(database: Database) -> None:
    tries = []

    def work(_: sa.Connection) -> None:
        tries.append(1)
        raise KeyError("mine")

    with pytest.raises(KeyError):
        database.transact(work)
    assert tries == [1]


def drop_connections(url: str) -> None:
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        mine = "pid <> pg_backend_pid() AND datname = current_database()"
        connection.execute(sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}"))
    admin.dispose()
