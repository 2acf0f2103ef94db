"""What a search has used is counted in its database, and its workers end by it."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from foldrace.search.compute import read_compute, total_fold_epochs
from foldrace.search.ending import Outlook, SearchEnd, Usage, read_end, read_usage
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.sampler.gp import Sample
from foldrace.search.session import open_session
from foldrace.search.study_store import open_study
from foldrace.search.trials.claims import Trials
from foldrace.search.workers.entrypoint import WorkerOptions, run_worker
from foldrace.storage import optuna_rows
from foldrace.storage.database import Database
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.loading import load
from foldrace.studies.study import Study
from tests.support.claims import NO_HEARTBEAT, must_claim, on_clock
from tests.support.records import record_at

MakeStudy = Callable[..., Study]
TINY = (
    "search.trials=6",
    "folds.count=2",
    "training.epochs=1",
    "search.baseline={}",
    "search.pruner=none",
    "search.sampler=tpe",
)


def usage_of(database: Database, study: Study) -> Usage:
    def work(connection: sa.Connection) -> Usage:
        study_id = optuna_rows.find_study_id(connection, study.name)
        spent = total_fold_epochs(read_compute(connection, study_id, study), study).spent
        return read_usage(connection, study_id, study, spent)

    return database.read(work)


def end_of(database: Database, study: Study) -> SearchEnd | None:
    return database.read(lambda c: read_end(c, optuna_rows.find_study_id(c, study.name), study))


def test_the_seconds_of_all_attempts_are_counted(database: Database, make_study: MakeStudy, now: list[float]) -> None:
    study = make_study(trials=2, gpu_hours=0.5)
    open_study(database, study)
    trials = Trials(database, study, WorkerIdentity(), heartbeat=on_clock(now))
    first = must_claim(trials)
    now[0] += 600
    first.report(0, 0.5, record_at(0, 0.5))
    first.release()
    now[0] += 5000  # nobody holds it
    again = must_claim(trials)
    assert again.number == first.number
    now[0] += 900
    again.report(0, 0.5, record_at(1, 0.5))

    assert usage_of(database, study).gpu_hours == pytest.approx(1500 / 3600)
    assert end_of(database, study) is None

    now[0] += 300
    again.report(0, 0.5, record_at(2, 0.5))
    end = end_of(database, study)
    assert end is not None
    assert end.reason.startswith("0.50 of 0.5 GPU hours are used")


def test_seconds_that_somebody_else_wrote_count_for_nothing(database: Database, make_study: MakeStudy) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    claim = must_claim(Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT))
    claim.set_attr("seconds", "an hour")
    claim.set_attr("outlook", {"gain": "none"})

    assert usage_of(database, study).gpu_hours == 0.0
    assert usage_of(database, study).outlooks == ()


def test_patience_counts_the_trials_that_ended_after_the_best_one(database: Database, make_study: MakeStudy) -> None:
    study = make_study(trials=9, patience=3)
    open_study(database, study)
    trials = Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
    early = must_claim(trials)  # begun first, it ends last
    for value in (0.5, 0.7, 0.6):
        must_claim(trials).finish(value)
    pruned = must_claim(trials)
    pruned.report(0, 0.4, record_at(0, 0.4))
    pruned.prune("no better")
    assert usage_of(database, study).without_better == 2
    assert end_of(database, study) is None

    early.finish(0.65)

    end = end_of(database, study)
    assert end is not None
    assert end.reason.startswith("3 trials ended without a better one")


def test_what_was_expected_is_stored_with_each_trial(database: Database, make_study: MakeStudy) -> None:
    study = make_study(trials=5)
    open_study(database, study)
    trials = Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
    for number in range(4):
        claim = must_claim(trials)
        for fold in range(study.folds.count):
            claim.report(fold, 0.5, record_at(7, 0.5 + number / 50 + fold / 100))
        claim.finish(0.5 + number / 50)
    assert usage_of(database, study).outlooks == ()  # the first four are spread out, whatever is expected

    must_claim(trials)

    (outlook,) = usage_of(database, study).outlooks
    assert outlook.trials == 4
    assert outlook.gain > 0
    assert outlook.rise is not None
    assert outlook.rise > 0
    assert 0 < outlook.error < outlook.spread * 2


@pytest.mark.parametrize(("stored", "worth"), [({}, [0.02]), ({"rise": 0.01}, [0.01]), ({"rise": "none"}, [])])
def test_an_outlook_of_the_version_before_tells_no_rise(
    database: Database, make_study: MakeStudy, stored: dict[str, object], worth: list[float]
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    claim = must_claim(Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT))

    claim.set_attr("outlook", {"gain": 0.02, "error": 0.01, "spread": 0.05, "trials": 9} | stored)

    assert [outlook.fold_rise for outlook in usage_of(database, study).outlooks] == worth


def test_the_newest_outlooks_tell_whether_a_search_has_converged(database: Database, make_study: MakeStudy) -> None:
    study = make_study(trials=4, stop="converged")
    open_study(database, study)
    trials = Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
    for gain in (0.05, 0.001, 0.001, 0.001):
        assert end_of(database, study) is None
        outlook = Outlook(gain=gain, error=0.01, spread=0.05, trials=20)
        claim = must_claim(trials)
        claim.begin({}, Sample({}, None, outlook))

    end = end_of(database, study)

    assert end is not None
    assert not end.lets_go
    assert read_status(database, study.name).end == end


def test_workers_let_go_when_a_budget_is_used_and_go_on_with_a_larger_one(storage_url: str, tmp_path: Path) -> None:
    """Each goes over by one evaluation at most; trials that run are released with a checkpoint, and nothing fails."""

    def run(budget: float) -> None:
        study = load("demo", [*TINY, f"search.fold_epochs={budget}", f"search.storage={storage_url}"])
        with open_session(study, tmp_path) as session:
            run_worker(session, WorkerOptions("cpu", heartbeat=NO_HEARTBEAT), lambda: False)

    def run_all(budget: float) -> None:
        threads = [threading.Thread(target=run, args=(budget,)) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    workers, evaluation = 2, 1 / 8  # fold-epochs
    run_all(1.5)
    study = load("demo", [*TINY, "search.fold_epochs=1.5", f"search.storage={storage_url}"])
    with open_session(study, tmp_path) as session:
        status = read_status(session.database, "demo")
        assert 1.5 <= status.fold_epochs.spent <= 1.5 + workers * evaluation
        assert status.state == "done"
        assert status.end is not None
        assert "FAIL" not in status.trials
        begun = status.trials.get("RUNNING", 0)
        assert begun == workers
        assert len(list(tmp_path.glob("demo/trial-*/fold-*/attempt-*/*"))) >= workers  # checkpoints

    run_all(4.5)

    with open_session(study, tmp_path) as session:
        after = read_status(session.database, "demo")
    assert 4.5 <= after.fold_epochs.spent <= 4.5 + workers * evaluation
    assert after.ended > status.ended
    assert "FAIL" not in after.trials
