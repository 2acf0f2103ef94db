"""What is checked and queued before workers run, and what a final job is refused for afterwards."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from foldrace.errors import FoldraceError
from foldrace.search.api.cluster import worker
from foldrace.search.api.inspect import export, status
from foldrace.search.api.train import run
from foldrace.search.ensemble.job import FinalJob
from foldrace.search.launch.final import refuse_untrained
from foldrace.search.launch.search import close_search, continue_search, search
from foldrace.search.launch.supervision import RunStopped, local_engine
from foldrace.search.monitor.poller import StatusPoller, StudyGoneError
from foldrace.search.monitor.status_reader import find_status, read_status
from foldrace.search.session import Session, begin_session, open_session, refuse_other_database
from foldrace.search.study_store import open_study, queue_folds, study_exists
from foldrace.search.trials.claims import Trials, TrialsSettings
from foldrace.search.workers.command import work_on
from foldrace.search.workers.supervisor import Snapshot
from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.errors import StorageError
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workers import set_control
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import load
from foldrace.studies.study import Study, StudyError
from tests.support.claims import must_claim


@pytest.fixture
def session(database: Database, make_study: Callable[..., Study], tmp_path: Path) -> Session:
    return Session(make_study(trials=3), Workspace(tmp_path, "small"), database)


def test_a_study_that_is_not_there_is_left_to_the_first_worker(session: Session) -> None:
    assert continue_search(session) == 0
    assert not study_exists(session.database, "small")
    assert close_search(session, 0).status is None
    assert str(close_search(session, 0, was_to_stop=True)).startswith("study     small: the time of --hours is over; ")


def in_file(study: Study, storage: Path) -> Study:
    search = study.search.model_copy(update={"storage": f"sqlite:///{storage}"})
    return study.model_copy(update={"search": search})


def test_a_search_is_not_begun_anew_while_another_database_has_it(tmp_path: Path) -> None:
    study, other = load("demo"), in_file(load("demo"), tmp_path / "other.db")
    file, begun = tmp_path / "demo" / "study.db", re.escape(f"{tmp_path}/demo: search.storage = sqlite:///")
    with open_session(other, tmp_path) as elsewhere:
        with open_session(study, tmp_path) as session, work_on(session, None):
            refuse_other_database(elsewhere)  # nothing was begun
            open_study(session.database, study)

        with pytest.raises(StorageError, match=f"^{begun}{file} has its search; give that one, or --as"):
            refuse_other_database(elsewhere)
        for begin in (worker, run):
            with pytest.raises(StorageError, match=f"^{begun}"):
                begin(other, workspace=tmp_path)
        file.unlink()  # lost
        refuse_other_database(elsewhere)


def test_a_run_with_another_storage_than_its_file_is_told_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "cs.toml"
    file.write_text(load("demo", name="cs").to_toml(), encoding="utf-8")
    begun = in_file(load(file), tmp_path / "other.db")
    with begin_session(begun, tmp_path) as session, work_on(session, None):
        open_study(session.database, begun)

    here, there = f"sqlite:///{tmp_path}/cs/study.db", f"sqlite:///{tmp_path}/other.db"
    told = f"{tmp_path}/cs: this run has search.storage = {there}, not {here}; it is found by its name alone, cs, and "
    told += "without FOLDRACE_STORAGE"
    for ask in (status, export):
        with pytest.raises(StorageError) as caught:
            ask(file, workspace=tmp_path)
        assert str(caught.value) == told
    assert [status(asked, workspace=tmp_path).total for asked in ("cs", begun)] == [14, 14]
    shutil.copy(tmp_path / "other.db", tmp_path / "cs/study.db")
    assert status(file, workspace=tmp_path).total == 14


def test_a_search_is_not_begun_anew_while_its_database_does_not_answer(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    nobody = make_study().search.model_copy(update={"storage": "postgresql+psycopg://me@127.0.0.1:1/db"})
    file = Workspace(tmp_path, "small").study_file
    atomic_write(file, make_study().model_copy(update={"search": nobody}).to_toml())

    with open_session(make_study(), tmp_path) as session:
        with pytest.raises(StorageError, match=f"may have its search: .*refused.*; where that is lost, remove {file}$"):
            refuse_other_database(session)
        file.write_text("[later]\nkey = 1\n")
        with pytest.raises(StudyError, match=r"study\.toml: later: unknown key"):
            refuse_other_database(session)
        file.unlink()
        refuse_other_database(session)


def test_a_search_goes_on_in_a_copy_of_its_database(make_study: Callable[..., Study], tmp_path: Path) -> None:
    study, copy = make_study(trials=3), in_file(make_study(), tmp_path / "copy.db")
    with open_session(study, tmp_path) as session, work_on(session, None):
        open_study(session.database, study)
    shutil.copy(tmp_path / "small" / "study.db", tmp_path / "copy.db")

    with open_session(copy, tmp_path) as session:
        refuse_other_database(session)
        assert continue_search(session) == 3


def test_a_stopped_study_goes_on_with_all_trials_that_were_ever_asked_for(
    session: Session, make_study: Callable[..., Study]
) -> None:
    open_study(session.database, make_study(trials=5))
    set_control(session.database, "small", "stopping")

    assert continue_search(session) == 5
    assert read_status(session.database, "small").control == "running"
    assert (
        str(close_search(session, 0)).splitlines()[0] == "study     small (no workers): 0 of 5 trials done: 5 waiting"
    )


@pytest.mark.parametrize(
    ("ends", "was_to_stop", "said"),
    [
        (["fail", "fail", "fail"], False, "3 trials failed; trial 2: the loss is nan"),
        (["fail", "prune", "fail"], False, "2 trials failed, 1 trial pruned"),
        (["prune", "prune", "prune"], True, "3 trials pruned"),
        (["finish", "fail"], False, "1 trial left, though every worker has ended"),
        ([], False, "3 trials left, though every worker has ended"),
        (["finish"], True, ""),
        (["finish", "fail", "prune"], False, ""),
    ],
)
def test_a_run_exits_0_only_when_what_was_asked_for_is_done(
    session: Session, trials_of: Callable[..., Trials], ends: list[str], was_to_stop: bool, said: str
) -> None:
    open_study(session.database, session.study)
    trials = trials_of(session.study)
    for end in ends:
        claim = must_claim(trials)
        claim.finish(0.5) if end == "finish" else getattr(claim, end)("the loss is nan")

    finished = close_search(session, 0, was_to_stop=was_to_stop)

    assert finished.exit_status == (1 if said else 0)
    assert said in finished.error
    assert ("not done" in str(finished)) == bool(said)
    is_early = was_to_stop and len(ends) < 3
    assert ("\nstopped   the time of --hours is over; the same command continues it" in str(finished)) == is_early


def test_a_signal_ends_a_run_with_what_it_has_begun(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foldrace.search.launch.search.run_workers", lambda *_, **__: 143)

    def told() -> str:
        with pytest.raises(RunStopped) as caught:
            search(session, local_engine(()), None, print)
        return str(caught.value)

    assert told() == "study     small: nothing was begun"
    open_study(session.database, session.study)
    assert told().startswith("study     small (no workers): 0 of 3 trials done: 3 waiting\n")
    assert told().endswith("\nstopped   the same command continues it")


def test_a_run_that_was_stopped_on_demand_exits_0(session: Session) -> None:
    open_study(session.database, session.study)
    set_control(session.database, "small", "stopping")

    assert close_search(session, 0).exit_status == 0


def _take_away(session: Session, change: str) -> None:
    if change == "deleted":
        session.database.storage.delete_study(1)
        return
    with session.database.engine.begin() as connection:
        connection.execute(sa.update(tables.studies).values(study_name="other"))


@pytest.mark.parametrize("change", ["deleted", "renamed"])
def test_a_run_whose_study_is_gone_from_the_database_does_not_exit_0(session: Session, change: str) -> None:
    open_study(session.database, session.study)
    _take_away(session, change)

    finished = close_search(session, 0)

    assert finished.exit_status == 1
    assert "small: not in its database" in str(finished)


@pytest.mark.parametrize("change", ["deleted", "renamed"])
def test_a_study_that_goes_away_under_its_run_ends_the_run(session: Session, change: str) -> None:
    open_study(session.database, session.study)
    poller = StatusPoller(lambda: find_status(session.database, "small"), lambda _: None, lambda *_: None)

    with poller:
        while poller.status is None:
            time.sleep(0.01)
        _take_away(session, change)
    with pytest.raises(StudyGoneError, match="study small: was deleted or renamed in its database while"):
        poller.observe(Snapshot((), ""))  # it polled once more when it was left


@pytest.fixture
def job(session: Session) -> FinalJob:
    """A final job of two folds, queued."""
    study = session.study.with_fixed({"gamma": 0.5, "epochs": 7})
    study = study.model_copy(update={"final": study.final.model_copy(update={"folds": 2})})
    job = FinalJob(study, 1, session.workspace)
    queue_folds(session.database, study, job.folds)
    return job


def test_a_final_job_with_a_fold_that_waits_is_refused(
    session: Session, job: FinalJob, trials_of: Callable[..., Trials]
) -> None:
    must_claim(trials_of(job.study, TrialsSettings(job.name))).finish(0.5)

    with pytest.raises(FoldraceError, match=r"small/final-1: stopped before its folds were done; the same command"):
        refuse_untrained(job, session.database)


@pytest.mark.parametrize(("reason", "said"), [("no memory", "no memory"), (None, "their files are gone")])
def test_a_final_job_without_the_files_of_a_fold_is_refused_with_the_reason(
    session: Session, job: FinalJob, trials_of: Callable[..., Trials], reason: str | None, said: str
) -> None:
    trials = trials_of(job.study, TrialsSettings(job.name))
    must_claim(trials).finish(0.5)
    claim = must_claim(trials)
    claim.finish(0.5) if reason is None else claim.fail(reason)

    with pytest.raises(FoldraceError, match=rf"small/final-1: folds failed \({said}\); foldrace final trains"):
        refuse_untrained(job, session.database)
