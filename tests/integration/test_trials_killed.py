"""Workers killed, connections dropped, acknowledgements lost, statement by statement: nothing lost, nothing twice.

`FOLDRACE_KILL_EVERY=1` does it at every single one.
"""

import os
import signal
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.context import ForkContext
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from foldrace.search.study_store import open_study
from foldrace.search.trials.claims import Claim, LeaseLost, Trials
from foldrace.storage.database import Database
from foldrace.storage.outages import RetryPolicy
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.study import Study
from tests.support.claims import NO_HEARTBEAT, on_clock
from tests.support.records import record_at

MakeStudy = Callable[..., Study]
EVERY = int(os.environ.get("FOLDRACE_KILL_EVERY", "6"))


def work(trials: Trials) -> None:
    """A worker's life, with every kind of write in it: the first trial is adopted, the second begun."""
    while (claim := trials.claim()) is not None:
        with claim:
            run(claim)


def run(claim: Claim) -> None:
    for evaluation in range(2):
        if (0, evaluation) not in claim.evaluations:
            assert claim.beat()
            claim.report(0, 0.5, record_at(evaluation, 0.5))
            claim.note_checkpoint()
    claim.finish(0.5)


def begin(database: Database, study: Study) -> None:
    """Two trials: one that another worker released, one that waits."""
    open_study(database, study)
    claim = Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT).claim()
    assert claim is not None
    claim.report(0, 0.5, record_at(0, 0.5))
    claim.release()


def finish_all(database: Database, study: Study) -> None:
    """Another worker, whose clock runs fast, does what is left."""
    now = [0.0]
    trials = Trials(database, study, WorkerIdentity(), heartbeat=on_clock(now))
    for _ in range(10):
        work(trials)
        if trials.is_over():
            return
        now[0] += 1
    raise AssertionError("something is left that nobody adopts")


def check(database: Database, name: str) -> None:
    trials = optuna.load_study(study_name=name, storage=database.storage).get_trials(deepcopy=False)
    assert [trial.number for trial in trials] == [0, 1]
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
    assert all(trial.intermediate_values == {0: 0.5, 1: 0.5} for trial in trials)
    assert all(set(trial.params) == {"gamma", "epochs"} for trial in trials)


def at_statement(engine: sa.Engine, number: int, act: Callable[[], Any]) -> list[int]:
    """Do something before statement `number` of an engine; returns a growing list of the statements there were."""
    seen: list[int] = []

    def before(*_: Any) -> None:
        seen.append(len(seen))
        if len(seen) - 1 == number:
            act()

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "commit", before)
    return seen


def live_and_die(url: str, study: Study, number: int) -> None:
    database = Database.open(url)
    trials = Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
    at_statement(database.engine, number, lambda: os.kill(os.getpid(), signal.SIGKILL))
    work(trials)
    os._exit(0)  # nothing of the parent's is to be cleaned up


def test_a_worker_killed_at_any_statement_loses_nothing_and_doubles_nothing(
    database: Database, storage_url: str, make_study: MakeStudy, forks: ForkContext
) -> None:
    killed = 0
    for number in range(0, 300, EVERY):
        study = make_study(f"s{number}", trials=2, lease_seconds=3)
        begin(database, study)
        process = forks.Process(target=live_and_die, args=(storage_url, study, number))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        killed += 1
        assert process.exitcode == -signal.SIGKILL
        finish_all(database, study)
        check(database, study.name)
    assert killed > 60 / EVERY


class Dropped:
    """Drops the connection of a PostgreSQL database, from the server's side."""

    def __init__(self, url: str) -> None:
        self._admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")

    def __call__(self) -> None:
        with self._admin.connect() as connection:
            mine = "pid <> pg_backend_pid() AND datname = current_database()"
            connection.execute(sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}"))

    def close(self) -> None:
        self._admin.dispose()


def test_a_connection_dropped_at_any_statement_ends_no_worker(postgres_url: str, make_study: MakeStudy) -> None:
    drop = Dropped(postgres_url)
    for number in range(0, 300, 2 * EVERY):
        database = Database.open(postgres_url, retries=RetryPolicy(sleep=lambda _: None))
        study = make_study(f"s{number}", trials=2)
        begin(database, study)
        trials = Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
        seen = at_statement(database.engine, number, drop)
        work_through(trials)
        database.close()
        with closing(Database.open(postgres_url)) as untouched:
            check(untouched, study.name)
        if len(seen) <= number:
            break
    drop.close()
    assert number > 60


def work_through(trials: Trials) -> None:
    """As a heartbeat's thread does it, a beat that fails is done again."""
    while (claim := trials.claim()) is not None:
        for _ in range(3):
            with suppress(sa.exc.DBAPIError):
                claim.beat()
        for evaluation in range(2):
            claim.report(0, 0.5, record_at(evaluation, 0.5))
        claim.finish(0.5)


def test_an_acknowledgement_lost_at_any_commit_doubles_nothing(
    storage_url: str, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database.open(storage_url, retries=RetryPolicy(sleep=lambda _: None))
    study = make_study(trials=2)
    begin(database, study)
    trials = Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
    commit = database.engine.dialect.do_commit
    lost: set[int] = set()

    def commit_and_lose(connection: Any) -> None:
        commit(connection)
        if len(lost) % 2 == 0:
            lost.add(len(lost))
            raise sa.exc.TimeoutError("the answer never came")
        lost.add(len(lost))

    monkeypatch.setattr(database.engine.dialect, "do_commit", commit_and_lose)
    work_through_lost(trials)
    monkeypatch.undo()
    check(database, study.name)
    assert len(lost) > 10
    database.close()


def work_through_lost(trials: Trials) -> None:
    for _ in range(2):
        claim = trials.claim()
        assert claim is not None
        for evaluation in range(2):
            claim.report(0, 0.5, record_at(evaluation, 0.5))
        with suppress(LeaseLost):
            claim.finish(0.5)
