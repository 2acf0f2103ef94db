"""Opening a database: by many at once, by URLs right and wrong, and of other versions."""

import sqlite3
import sys
import traceback
from multiprocessing.context import ForkContext
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from foldrace.storage import address, tables
from foldrace.storage.database import Database
from foldrace.storage.errors import DiskError, StorageError
from foldrace.storage.outages import RetryPolicy

CANARY = "hunter2-canary"


def open_and_ask(url: str) -> int:
    database = Database.open(url)
    study = optuna.create_study(storage=database.storage, study_name="shared", load_if_exists=True)
    return study.ask().number


def test_sixteen_processes_open_a_new_database_at_once(empty_url: str, forks: ForkContext) -> None:
    with forks.Pool(16) as pool:
        numbers = pool.map(open_and_ask, [empty_url] * 16, chunksize=1)
    assert sorted(numbers) == list(range(16))


def test_a_missing_database_is_not_made_by_looking(empty_url: str) -> None:
    with pytest.raises(StorageError, match="`foldrace run` makes one"):
        Database.open(empty_url, create=False)


def test_both_engines_of_sqlite_begin_immediate(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'study.db'}")
    optuna.create_study(storage=database.storage, study_name="other")
    writer = sqlite3.connect(tmp_path / "study.db", timeout=0)
    with database.engine.begin(), pytest.raises(sqlite3.OperationalError, match="locked"):
        writer.execute("BEGIN IMMEDIATE")
    session = database.storage._backend.scoped_session()  # type: ignore[attr-defined]
    session.execute(sa.text("SELECT 1"))
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        writer.execute("BEGIN IMMEDIATE")
    session.rollback()
    with database.read_only(), database.engine.begin():
        writer.execute("BEGIN IMMEDIATE")
    writer.close()
    database.close()


def test_sqlite_writes_ahead_waits_for_locks_and_syncs(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'deep' / 'study.db'}")
    with database.engine.begin() as connection:
        found = {n: connection.exec_driver_sql(f"PRAGMA {n}").scalar() for n in ("journal_mode", "busy_timeout")}
        assert found == {"journal_mode": "wal", "busy_timeout": 60_000}
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    database.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("study.db", "does not parse"),
        (f"postgresql+psycopg://me:{CANARY}@host:port/db", "does not parse"),
        (f"postgresql+psycopg://me:x@{CANARY}@host/db", "percent-encoded"),
        (f"postgresql://me:{CANARY}@host/db", r"write postgresql\+psycopg://"),
        (f"mysql://me:{CANARY}@host/db", "neither SQLite nor PostgreSQL"),
        (f"postgresql+psycopg://me:{CANARY}@127.0.0.1:1/db", "me@127.0.0.1:1/db: .*refused"),
        (f"postgresql+psycopg://me@127.0.0.1:1/db?password={CANARY}", "refused"),
        (f"postgresql+psycopg://me:{CANARY}@127.0.0.1:1/db?nonsense=1", "invalid connection option"),
        (f"postgresql+psycopg://me:{CANARY}@/db?host=127.0.0.1&port=five", "non-integer port"),
        ("sqlite://", "in memory"),
        ("sqlite:////proc/none/study.db", "^/proc/none: cannot be written: No such file or directory"),
    ],
)
def test_a_wrong_url_is_one_line_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StorageError, match=message) as caught:
        Database.open(url)
    text = "".join(traceback.format_exception(caught.value))
    assert CANARY not in text
    assert "\n" not in str(caught.value)


def test_a_place_where_nobody_may_write_is_a_matter_of_the_disk() -> None:
    """Which the exit status tells. Not even root makes a folder there."""
    with pytest.raises(DiskError, match=r"^/sys/none: cannot be written: \w"):
        Database.open("sqlite:////sys/none/study.db")


def test_a_driver_that_is_not_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StorageError, match=r"//me@host/db: its driver is not installed; install foldrace\[postgres\]"):
        Database.open("postgresql+psycopg://me:canary@host/db")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database " * 100)
    with pytest.raises(StorageError, match=r"study\.db: file is not a database"):
        Database.open(f"sqlite:///{tmp_path / 'study.db'}")


def test_a_server_that_does_not_answer_is_waited_for(now: list[float]) -> None:
    def sleep(seconds: float) -> None:
        now[0] += seconds

    retries = RetryPolicy(clock=lambda: now[0], sleep=sleep)
    with pytest.raises(StorageError, match="refused"):
        Database.open("postgresql+psycopg://me@127.0.0.1:1/db", 30, retries=retries)
    assert 20 < now[0] <= 30


def test_a_newer_database_is_refused(database: Database, storage_url: str) -> None:
    database.transact(lambda connection: connection.execute(sa.update(tables.version).values(version=99)))
    with pytest.raises(StorageError, match=r"newer foldrace.*update foldrace"):
        Database.open(storage_url)


def test_an_older_database_is_migrated_once(
    database: Database, storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr(tables, "VERSION", tables.VERSION + 1)
    monkeypatch.setitem(tables.MIGRATIONS, tables.VERSION - 1, lambda _: steps.append(1))
    for _ in range(2):
        Database.open(storage_url).close()
    assert steps == [1]


@pytest.mark.parametrize(("kind", "warned"), [("nfs4", True), ("fuse.sshfs", True), ("ext4", False)])
def test_sqlite_on_a_network_file_system_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, warned: bool
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"root / ext4 rw 0 0\nserver:/x /shared {kind} rw 0 0\n")
    address.warn_of_network_file_system(Path("/shared/study.db"), mounts)
    assert ("use PostgreSQL" in caplog.text) is warned
