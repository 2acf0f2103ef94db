"""What a claim stores is what Optuna, its pruners and `foldrace status` read."""

import json
import math
from collections.abc import Callable

import optuna
import pytest
import sqlalchemy as sa

from foldrace.search.monitor.status import FailedTrial
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.sampler.history import History
from foldrace.search.study_store import open_study
from foldrace.search.trials.claims import Trials
from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.errors import StorageError
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.study import Study
from foldrace.trainer.metrics import Scores
from tests.support.claims import NO_HEARTBEAT, must_claim
from tests.support.records import record_at

View = Callable[..., Trials]
MakeStudy = Callable[..., Study]


def end_some(trials: Trials) -> None:
    """One of each: complete, pruned, failed, running with two reports, and what is left waits."""
    must_claim(trials).finish(0.8)
    pruned = must_claim(trials)
    pruned.report(0, 0.5, record_at(0, 0.5))
    pruned.report(1, 0.6, record_at(7, 0.7))
    pruned.prune("no better than the best one")
    must_claim(trials).fail("its loss is not finite")
    running = must_claim(trials)
    running.progress(fold=1, epoch=2.5, rows_per_second=100.0)
    running.report(0, 0.4, record_at(0, 0.4))
    running.report(0, 0.45, record_at(1, 0.5))
    assert running.beat()


def test_optuna_reads_each_end_as_its_own(database: Database, make_study: MakeStudy, trials_of: View) -> None:
    study = make_study(trials=5)
    open_study(database, study)
    end_some(trials_of(study))
    plain = optuna.storages.RDBStorage(database.engine.url.render_as_string(hide_password=False))
    read = optuna.load_study(study_name="small", storage=plain)
    trials = read.get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"]
    assert (read.best_value, trials[1].value) == (0.8, 0.6)
    assert trials[1].intermediate_values == {0: 0.5, 15: 0.6}
    assert trials[1].user_attrs["reason"] == "no better than the best one"
    assert trials[2].user_attrs["failure"] == "its loss is not finite"
    plain.engine.dispose()
    assert all(trial.duration is not None and trial.duration.total_seconds() < 60 for trial in trials[:3])


def test_a_value_that_is_not_finite_is_a_failure(database: Database, make_study: MakeStudy, trials_of: View) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    claim = must_claim(trials_of(study))
    claim.report(0, math.nan, record_at(0, math.nan, train_loss=math.inf))
    assert claim.finish(math.nan)
    trial = database.storage.get_trial(1)
    assert (trial.state.name, trial.user_attrs["failure"]) == ("FAIL", "its value is nan")
    record = json.loads(json.dumps(trial.user_attrs["fold0/eval0"], allow_nan=False))
    assert (record["index"], record["best"], record["train_loss"]) == (0, None, None)


def test_a_report_done_twice_is_one_report(database: Database, make_study: MakeStudy, trials_of: View) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    claim = must_claim(trials_of(study))
    for _ in range(2):
        claim.report(0, 0.5, record_at(1, 0.5))
    assert database.storage.get_trial(1).intermediate_values == {1: 0.5}
    assert (claim.finish(0.5), claim.finish(0.4)) == (True, False)
    assert database.storage.get_trial(1).value == 0.5


def test_the_history_is_what_optuna_reads(database: Database, make_study: MakeStudy, trials_of: View) -> None:
    study = make_study(trials=5)
    open_study(database, study)
    history = History(database, 1)
    for _ in range(2):
        history.refresh()
        end_some(trials_of(study)) if not history.get_all_trials(0) else None
    plain = [t for t in database.storage.get_all_trials(1) if t.state.name not in ("FAIL", "WAITING")]
    for ours, theirs in zip(history.get_all_trials(0), plain, strict=True):
        assert (ours.number, ours.state, ours.value, ours.params) == (
            theirs.number,
            theirs.state,
            theirs.value,
            theirs.params,
        )
        assert ours.distributions == theirs.distributions
        assert ours.last_step == (theirs.last_step if ours.state.name in ("PRUNED", "RUNNING") else None)


def test_the_history_follows_a_straggler(database: Database, make_study: MakeStudy, trials_of: View) -> None:
    study = make_study(trials=6)
    open_study(database, study)
    history, straggler = History(database, 1), must_claim(trials_of(study))
    for _ in range(3):
        must_claim(trials_of(study)).finish(0.5)
        history.refresh()
    straggler.finish(0.9)
    for _ in range(2):
        history.refresh()
        assert [t.value for t in history.get_all_trials(0)] == [0.9, 0.5, 0.5, 0.5]


def test_a_long_history_is_its_newest_and_its_best(
    database: Database, make_study: MakeStudy, trials_of: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foldrace.search.sampler.history.MOST_ENDED", 3)
    monkeypatch.setattr("foldrace.search.sampler.history.MOST_GOOD", 2)
    study = make_study(trials=9)
    open_study(database, study)
    trials = trials_of(study)
    history, running = History(database, 1), must_claim(trials)

    def seen() -> list[int]:
        history.refresh()
        return [trial.number for trial in history.get_all_trials(0)]

    for value in (0.5, 0.9, 0.6, 0.8, 0.1, 0.2, 0.3):
        must_claim(trials).finish(value)
    assert seen() == [running.number, 2, 4, 5, 6, 7]
    running.finish(0.7)  # now one of the old ones, and not as good as two of them, but the baseline
    assert seen() == [0, 2, 4, 5, 6, 7]
    must_claim(trials).finish(0.4)
    assert seen() == [0, 2, 4, 6, 7, 8]


def test_the_summary_counts_in_the_database(database: Database, make_study: MakeStudy, trials_of: View) -> None:
    study = make_study(trials=6)
    open_study(database, study)
    trials = trials_of(study)
    end_some(trials)
    must_claim(trials).release()
    assert database.read(lambda c: c.execute(sa.select(tables.leases.c.trial_id)).scalars().all()) == [4, 5]
    found = read_status(database, "small")
    assert found.trials == {"COMPLETE": 1, "PRUNED": 1, "FAIL": 1, "RUNNING": 2, "WAITING": 1}
    assert found.evaluations == {"PRUNED": 2, "RUNNING": 2}
    assert found.best is not None
    assert (found.best.number, found.best.value, [*found.best.knobs]) == (0, 0.8, ["epochs", "gamma"])
    assert found.failures == (FailedTrial(2, "its loss is not finite"),)
    assert [(orphan.number, orphan.why) for orphan in found.orphans] == [(4, "released")]


@pytest.mark.parametrize(("scores", "shown"), [(Scores(accuracy=0.75), 0.75), (Scores(), None)])
def test_the_summary_shows_what_each_worker_does(
    database: Database, make_study: MakeStudy, scores: Scores, shown: float | None
) -> None:
    study = make_study()
    open_study(database, study)
    worker = WorkerIdentity(device="cuda:1")
    trials = Trials(database, study, worker, heartbeat=NO_HEARTBEAT)
    claim = must_claim(trials)
    claim.progress(fold=2, epoch=3.5, rows_per_second=120.0)
    claim.report(2, 0.75, record_at(4, 0.75, scores=scores))
    assert claim.beat()
    [line] = read_status(database, "small").workers
    assert (line.owner, line.device, line.pid) == (worker.owner, "cuda:1", worker.pid)
    assert (line.number, line.fold, line.epoch, line.accuracy, line.rows_per_second) == (0, 2, 3.5, shown, 120.0)
    assert 0 <= line.silent_seconds < 30
    claim.release()
    trials.leave()
    assert [line.stopped for line in read_status(database, "small").workers] == [True]


def test_a_summary_of_nothing_says_what_there_is(database: Database) -> None:
    with pytest.raises(
        StorageError, match=r"no study small, for nothing has run yet; foldrace run with its .* begins it$"
    ):
        read_status(database, "small")
