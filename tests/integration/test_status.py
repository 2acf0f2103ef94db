"""The status is read from one snapshot of either database, and told in lines where nobody is at a terminal."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from foldrace.search.monitor.live import watch_status
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.study_store import FinalFold, open_study, queue_folds
from foldrace.search.trials.claims import Trials, TrialsSettings
from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.study import Study
from tests.support.claims import NO_HEARTBEAT, must_claim
from tests.support.records import record_at

NOON = datetime(2026, 1, 1, 12)


def test_the_status_takes_one_transaction_and_looks_the_study_up_once(
    database: Database, make_study: Callable[..., Study]
) -> None:
    open_study(database, make_study())
    begun: list[object] = []
    executed: list[str] = []
    event.listen(database.engine, "begin", begun.append)
    event.listen(database.engine, "before_cursor_execute", lambda *args: executed.append(args[2]))

    read_status(database, "small")

    assert len(begun) == 1
    assert (
        len(
            [
                statement
                for statement in executed
                if "WHERE studies.study_name =" in statement and "count" not in statement
            ]
        )
        == 1
    )


@pytest.mark.parametrize("after", range(12))
def test_the_status_is_that_of_one_moment(
    database: Database, storage_url: str, make_study: Callable[..., Study], after: int
) -> None:
    """Whichever statement of the status a trial ends after."""
    study = make_study()
    open_study(database, study)
    other = Database.open(storage_url)
    claim = must_claim(Trials(other, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT))
    claim.report(0, 0.5, record_at(0, 0.5))
    statements = iter(range(after + 1))
    event.listen(
        database.engine, "after_cursor_execute", lambda *_: claim.finish(0.9) if next(statements, -1) == after else None
    )

    status = read_status(database, "small")
    other.close()

    has_ended = status.trials.get("COMPLETE", 0) == 1
    assert (status.best is not None, status.first is not None, status.epochs == {}) == (has_ended,) * 3
    assert status.evaluations == {"COMPLETE" if has_ended else "RUNNING": 1}


def test_a_study_without_an_ended_trial_has_no_first_value_and_no_pace(
    database: Database, make_study: Callable[..., Study]
) -> None:
    open_study(database, make_study())
    status = read_status(database, "small")
    assert (status.first, status.seconds_each) == (None, None)


def test_the_first_value_is_that_of_trial_0_and_the_pace_the_median_of_what_ended(
    database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials]
) -> None:
    open_study(database, make_study())
    trials = trials_of(make_study())
    for value, seconds in ((0.6, 60), (0.8, 120)):
        claim = trials.claim()
        assert claim is not None
        claim.finish(value)
        lasted = {"datetime_start": NOON, "datetime_complete": NOON + timedelta(seconds=seconds)}
        own = sa.update(tables.trials).where(tables.trials.c.number == claim.number).values(lasted)
        database.transact(lambda connection, own=own: connection.execute(own))  # type: ignore[misc]
    status = read_status(database, "small")
    assert status.best is not None
    assert (status.first, status.best.value, status.seconds_each) == (0.6, 0.8, 90.0)


@pytest.mark.parametrize(
    ("lasted", "each"),
    [
        ((-3600,), None),
        ((-3600, 60), 60.0),
        ((-86_400, 60, 60, 120), 60.0),
        ((60, 1_400_000, 60), 60.0),  # set forward
    ],
)
def test_a_clock_that_is_set_leaves_the_right_pace_or_none(
    database: Database,
    make_study: Callable[..., Study],
    trials_of: Callable[..., Trials],
    lasted: tuple[int, ...],
    each: float | None,
) -> None:
    open_study(database, make_study(trials=6))
    trials = trials_of(make_study(trials=6))
    for seconds in lasted:
        claim = trials.claim()
        assert claim is not None
        claim.finish(0.6)
        times = {"datetime_start": NOON, "datetime_complete": NOON + timedelta(seconds=seconds)}
        own = sa.update(tables.trials).where(tables.trials.c.number == claim.number).values(times)
        database.transact(lambda connection, own=own: connection.execute(own))  # type: ignore[misc]

    assert read_status(database, "small").seconds_each == each


def test_a_file_that_was_edited_does_not_change_how_its_run_stands(
    database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials], tmp_path: Path
) -> None:
    study = make_study(baseline={"epochs": 16})
    open_study(database, study)
    claim = trials_of(study).claim()
    assert claim is not None
    claim.report(0, 0.5, record_at(0, 0.5))
    claim.prune("too low")
    edited = study.model_copy(update={"folds": study.folds.model_copy(update={"count": 2})})

    status = read_status(database, edited.name)

    assert (status.study.folds.count, status.fold_epochs.saved) == (
        5,
        39 * 2,
    )  # 40 cells of 2 epochs, one of them spent


def test_a_fold_of_a_final_job_that_is_trained_again_counts_once(
    database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials]
) -> None:
    """One of the two folds failed first; the model of the other one was lost."""
    study, folds = make_study().with_fixed({"gamma": 0.5, "epochs": 6}), [FinalFold(0, 77), FinalFold(1, 77)]
    name = queue_folds(database, study, folds)
    trials = trials_of(study, TrialsSettings(name))
    must_claim(trials).finish(0.2)
    must_claim(trials).fail("no memory")
    queue_folds(database, study, folds, lost=folds[:1])

    must_claim(trials).finish(0.6)
    assert str(read_status(database, name).finals[0]) == "small/final-1: 1 of 2 folds done, mean 0.6000"
    must_claim(trials).finish(0.8)

    status = read_status(database, name)
    assert (status.trials, status.ended, status.state, status.failures) == ({"COMPLETE": 2}, 2, "done", ())
    assert str(status.finals[0]) == "small/final-1: 2 of 2 folds done, mean 0.7000"


def test_without_a_terminal_the_status_is_watched_in_lines(
    database: Database,
    make_study: Callable[..., Study],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    open_study(database, make_study())
    looks = iter(range(2))

    def sleep(seconds: float) -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        watch_status(database, "small")
    assert capsys.readouterr().out == "0/3 trials, 0 pruned, 0 failed\n"
