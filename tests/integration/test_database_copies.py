"""A copy of an SQLite file that is made while a study runs holds what has ended by then."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna

from foldrace.search.study_store import FinalFold, open_study, queue_folds
from foldrace.search.trials.claims import Trials
from foldrace.storage.database import Database
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.study import Study
from tests.support.claims import NO_HEARTBEAT, must_claim
from tests.support.records import record_at


def copied(path: Path, name: str) -> list[str]:
    """The states of the trials in a copy of the file alone, without its write-ahead log."""
    copy = shutil.copy(path, path.with_name("copy.db"))
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{copy}")
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


def test_a_copy_holds_each_trial_that_has_ended(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    path, study = tmp_path / "study.db", make_study(trials=4)
    with closing(Database.open(f"sqlite:///{path}")) as database:
        open_study(database, study)
        assert copied(path, "small") == ["WAITING"] * 4
        trials = Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
        must_claim(trials).finish(0.5)
        assert copied(path, "small")[:1] == ["COMPLETE"]
        claim = must_claim(trials)
        claim.report(0, 0.7, record_at(0, 0.7))
        claim.prune("behind")
        must_claim(trials).fail("its loss is nan")
        assert copied(path, "small")[:3] == ["COMPLETE", "PRUNED", "FAIL"]


def test_a_copy_holds_the_folds_of_a_final_job(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    path, study = tmp_path / "study.db", make_study().with_fixed({"gamma": 0.5, "epochs": 5})
    with closing(Database.open(f"sqlite:///{path}")) as database:
        name = queue_folds(database, study, [FinalFold(0, 77)])
        assert copied(path, name) == ["WAITING"]


def test_a_checkpoint_waits_for_neither_reader_nor_writer(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    path = tmp_path / "study.db"
    with closing(Database.open(f"sqlite:///{path}")) as database, closing(sqlite3.connect(path)) as reader:
        reader.isolation_level = None
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM studies").fetchall()
        open_study(database, make_study())
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            database.checkpoint()  # with a lock it would wait for two minutes
            writer.execute("ROLLBACK")
        reader.execute("ROLLBACK")
        database.checkpoint()
        assert copied(path, "small") == ["WAITING"] * 3
