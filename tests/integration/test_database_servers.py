"""Databases as they are in the world: read-only, with few connections, behind a pooler; and who waits says so."""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkContext
from pathlib import Path
from threading import Event, Thread

import optuna
import pytest
import sqlalchemy as sa

from foldrace.search.monitor.status_reader import read_status
from foldrace.search.study_store import open_study
from foldrace.search.trials.claims import Claim, Trials
from foldrace.storage import tables, wait_watch
from foldrace.storage.database import Database
from foldrace.storage.errors import DiskError, OutageError, StorageError
from foldrace.storage.outages import RetryPolicy
from foldrace.storage.workers import WorkerIdentity, set_control
from foldrace.studies.study import Study
from tests.support.claims import NO_HEARTBEAT, must_claim
from tests.support.poolers import PGBOUNCER, pooled
from tests.support.postgres import administer
from tests.support.records import record_at
from tests.support.shared_folders import let_others_in


def count_up(database: Database) -> None:
    database.transact(lambda c: c.execute(sa.update(tables.version).values(version=tables.version.c.version + 1)))


def set_attr(database: Database) -> None:
    study_id = database.storage.get_study_id_from_name("small")
    database.retry(lambda: database.storage.set_study_user_attr(study_id, "note", 1))


def pause(database: Database) -> None:
    set_control(database, "small", "paused")


@pytest.mark.parametrize("write", [count_up, set_attr, pause])
def test_a_server_that_is_read_only_for_a_while_is_waited_for(
    postgres_server: sa.URL,
    postgres_url: str,
    now: list[float],
    make_study: Callable[..., Study],
    write: Callable[[Database], None],
) -> None:
    name = sa.make_url(postgres_url).database

    def fail_over(setting: str) -> None:  # it holds for new connections only, as another server behind the name would
        administer(postgres_server, f'ALTER DATABASE "{name}" SET default_transaction_read_only = {setting}')

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 5:
            fail_over("off")

    database = Database.open(postgres_url, retries=RetryPolicy(clock=lambda: now[0], sleep=sleep))
    open_study(database, make_study("small"))
    fail_over("on")
    database.engine.dispose()

    write(database)

    assert now[0] > 5
    database.close()


@pytest.fixture
def few(postgres_server: sa.URL, postgres_url: str) -> Iterator[str]:
    """A database whose owner may have one connection."""
    url = sa.make_url(postgres_url)
    administer(postgres_server, "CREATE ROLE few LOGIN CONNECTION LIMIT 1")
    administer(url, "GRANT ALL ON SCHEMA public TO few", "GRANT ALL ON ALL TABLES IN SCHEMA public TO few")
    administer(url, "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO few")
    yield url.set(username="few").render_as_string()
    administer(url, "DROP OWNED BY few", "DROP ROLE few")


def test_a_process_does_all_it_does_over_one_connection(few: str, make_study: Callable[..., Study]) -> None:
    database = Database.open(few, retries=RetryPolicy(patience_seconds=0))
    open_study(database, make_study("small"))
    count_up(database)
    set_attr(database)

    assert read_status(database, "small").total == 3
    database.close()


def test_workers_that_train_leave_the_only_connection_to_each_other(few: str, make_study: Callable[..., Study]) -> None:
    study, claims = make_study("small"), list[Claim]()
    for _ in range(2):
        database = Database.open(few, 10, retries=RetryPolicy(patience_seconds=10))
        open_study(database, study)
        claims.append(must_claim(Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)))
        claims[-1].rest()
    for claim in claims:
        claim.report(0, 0.5, record_at(0, 0.5))
        claim.rest()
    with claims[0]._database.engine.connect() as connection:
        claims[0].rest()  # a heartbeat's thread, say, leaves alone what is in use
        assert connection.execute(sa.select(tables.version.c.version)).scalar() is not None
    assert claims[0].beat()  # it holds the connection no longer than the others
    assert claims[1].beat()
    for claim in claims:
        claim.finish(0.5)
        claim.rest()
        claim._database.close()


def test_the_tables_are_made_over_one_connection(few: str) -> None:
    url = sa.make_url(few)
    administer(url.set(username="postgres"), "DROP SCHEMA public CASCADE", "CREATE SCHEMA public AUTHORIZATION few")

    Database.open(few, retries=RetryPolicy(patience_seconds=0)).close()


@pytest.mark.parametrize("option", ["prepare_threshold=0", "autocommit=true", "row_factory=x", "connect_timeout=1&"])
def test_an_option_that_the_driver_cannot_read_from_a_url_is_one_line(option: str) -> None:
    with pytest.raises(StorageError, match=rf"/db: \?{option.partition('=')[0]}= is .*(leave it out|give it once)$"):
        Database.open(f"postgresql+psycopg://me@127.0.0.1:1/db?{option}{option if option.endswith('&') else ''}")


def work_behind_a_pooler(url: str) -> int:
    database = Database.open(url)
    for _ in range(12):  # the driver would prepare what it sends for the sixth time
        database.transact(lambda c: c.execute(sa.select(tables.studies).where(tables.studies.c.study_id == 0)).all())
    study = optuna.create_study(storage=database.storage, study_name="shared", load_if_exists=True)
    return study.ask().number


@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
@pytest.mark.parametrize("sessions", [1, 2])
def test_processes_share_the_sessions_of_a_pooler(
    fresh_postgres: Callable[[str], str], tmp_path: Path, forks: ForkContext, sessions: int
) -> None:
    with pooled(sa.make_url(fresh_postgres("template0")), tmp_path, sessions) as url, forks.Pool(4) as pool:
        assert sorted(pool.map(work_behind_a_pooler, [url] * 4, chunksize=1)) == [0, 1, 2, 3]


# Who waits says so


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Event, list[str]]]:
    """Set when a wait was told, and what was told; a wait is long at once."""
    monkeypatch.setattr(wait_watch, "_FIRST_SECONDS", 0.2)
    monkeypatch.setattr(wait_watch, "_LOOK_SECONDS", 0.1)
    found, lines = Event(), list[str]()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            found.set()

    handler = Handler()
    logging.getLogger("foldrace.storage").addHandler(handler)
    yield found, lines
    logging.getLogger("foldrace.storage").removeHandler(handler)


def test_who_waits_for_a_lock_says_so(database: Database, storage_url: str, told: tuple[Event, list[str]]) -> None:
    other = Database.open(storage_url)
    with other.engine.connect() as connection:
        transaction = connection.begin()
        connection.execute(sa.update(tables.version).values(version=2))
        waiting = Thread(target=count_up, args=(database,))
        waiting.start()
        assert told[0].wait(30)
        transaction.rollback()
        waiting.join()
    assert told[1][0].startswith(f"{wait_watch.WAITING} {database.address}: ")
    other.close()


def test_who_waits_for_a_connection_says_what_is_missing(few: str, told: tuple[Event, list[str]]) -> None:
    first = Database.open(few)
    count_up(first)
    with pytest.raises(OutageError, match="too many connections"):
        Database.open(few, 1, retries=RetryPolicy())
    assert "too many connections for role" in told[1][0]
    first.close()


def test_who_waits_for_a_server_that_says_nothing_says_so(told: tuple[Event, list[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"postgresql+psycopg://me@127.0.0.1:{mute.getsockname()[1]}/db?connect_timeout=2"
        with pytest.raises(OutageError):
            Database.open(url)
    assert told[1][0] == f"{wait_watch.WAITING} {url.partition('?')[0]}: the server has not answered yet"


# Who may only read


@pytest.fixture
def reader(postgres_server: sa.URL, postgres_url: str, make_study: Callable[..., Study]) -> Iterator[str]:
    """The URL of a study's database for a role that may only read."""
    url = sa.make_url(postgres_url)
    database = Database.open(postgres_url)
    open_study(database, make_study("small"))
    database.close()
    administer(postgres_server, "CREATE ROLE reader LOGIN")
    administer(url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    yield url.set(username="reader").render_as_string()
    administer(url, "DROP OWNED BY reader", "DROP ROLE reader")


def test_a_role_that_may_only_read_sees_all_and_is_told_what_it_lacks(
    reader: str, make_study: Callable[..., Study]
) -> None:
    database = Database.open(reader, create=False)
    assert read_status(database, "small").total == 3
    assert [study.study_name for study in database.storage.get_all_studies()] == ["small"]
    refused = r"permission denied for .*; this role lacks the right to \w+ there$"
    with pytest.raises(StorageError, match=refused):
        pause(database)
    with pytest.raises(StorageError, match=refused):
        open_study(database, make_study("small", trials=5))
    database.close()


def read_as_another_user(url: str) -> tuple[int, int, str]:
    """What a user who may not write the file sees, and is told when it writes; to root, nothing is read-only."""
    if os.geteuid() == 0:
        os.setuid(65534)
    database = Database.open(url, create=False)
    seen = read_status(database, "small").total, len(database.storage.get_all_studies())
    try:
        pause(database)
    except DiskError as error:
        return *seen, str(error)
    return *seen, "it was written"


@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o555), (0o444, 0o777), (0o666, 0o555)])
def test_a_file_that_may_only_be_read_is_read(
    tmp_path: Path, make_study: Callable[..., Study], forks: ForkContext, file: int, folder: int
) -> None:
    path = tmp_path / "run" / "study.db"
    database = Database.open(f"sqlite:///{path}")
    open_study(database, make_study("small"))
    database.close()
    path.chmod(file)
    path.parent.chmod(folder)
    let_others_in(tmp_path)
    with forks.Pool(1) as pool:
        trials, studies, told = pool.apply(read_as_another_user, [f"sqlite:///{path}"])
    path.parent.chmod(0o755)

    assert (trials, studies) == (3, 1)
    assert told.endswith("this user needs the right to write the file and its folder")
