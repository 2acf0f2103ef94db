"""Links that somebody plants in a run's folder: nothing outside of it is read, written or deleted through them."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound

from foldrace.search.dashboard.server import open_server
from foldrace.search.ensemble.job import FinalJob, queue_final_job
from foldrace.search.ensemble.result import make_ensemble
from foldrace.search.launch.cleaning import clean_run
from foldrace.search.recording.artifacts import Artifacts
from foldrace.search.session import Session
from foldrace.search.study_store import open_study
from foldrace.search.workers.command import work_on
from foldrace.search.workers.entrypoint import WorkerOptions, run_worker
from foldrace.search.workers.slots import Slot
from foldrace.search.workers.supervisor import SupervisorError, local_crew
from foldrace.storage.database import Database
from foldrace.storage.errors import StorageError
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import load
from foldrace.trainer.training_data import open_training_data
from tests.support.final_jobs import leave_results

CONTENT = "somebody else's"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the workspace, with a file that must stay as it is."""
    folder = tmp_path / "outside"
    (folder / "attempt-1").mkdir(parents=True)
    for file in (folder / "file", folder / "attempt-1" / "checkpoint-00000001.safetensors"):
        file.write_text(CONTENT)
    return folder


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    study = load("demo", ["search.trials=1"])
    with closing(Database.open(f"sqlite:///{tmp_path}/study.db")) as database:
        open_study(database, study)
        yield Session(study, Workspace(tmp_path / "runs", "demo"), database)


def as_supervisor(session: Session) -> None:
    with work_on(session, None):
        raise AssertionError("it went on")


def as_worker(session: Session) -> None:
    run_worker(session, WorkerOptions("cpu"), lambda: True)


@pytest.mark.parametrize("act", [as_supervisor, as_worker, open_server])
@pytest.mark.parametrize("name", ["trial-00000", "trial-00000/fold-0", "logs", "artifacts", "submissions", "final-1"])
def test_a_folder_that_leads_out_of_the_run_is_refused(
    session: Session, outside: Path, name: str, act: Callable[[Session], object]
) -> None:
    link = session.workspace.folder / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)

    with pytest.raises(StorageError, match=rf"^{link}: a link to {outside}, out of the run's folder, which is not "):
        act(session)
    assert (outside / "file").read_text() == CONTENT
    assert sorted(path.name for path in outside.rglob("*")) == ["attempt-1", "checkpoint-00000001.safetensors", "file"]


def test_a_run_whose_folder_is_a_link_and_links_inside_of_it_are_accepted(session: Session, tmp_path: Path) -> None:
    (tmp_path / "scratch" / "final-1").mkdir(parents=True)
    session.workspace.root.mkdir()
    session.workspace.folder.symlink_to(tmp_path / "scratch")
    (tmp_path / "scratch" / "newest").symlink_to("final-1")

    session.workspace.refuse_links()


@pytest.mark.parametrize("target", ["file", "missing", "attempt-1"])
def test_a_log_that_is_a_link_is_not_written(tmp_path: Path, outside: Path, target: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "worker-0.log").symlink_to(outside / target)

    with pytest.raises(SupervisorError, match=r"worker-0\.log: a link, which is not followed; remove it"):
        local_crew(lambda _: ["true"], [Slot(0, "cpu", 1)], tmp_path / "logs")
    assert (outside / "file").read_text() == CONTENT
    assert not (outside / "missing").exists()


def test_an_artifact_that_is_a_link_is_neither_served_nor_written_through(tmp_path: Path, outside: Path) -> None:
    store = Artifacts(tmp_path / "artifacts")
    (tmp_path / "artifacts").mkdir()
    for name, target in {"a": "file", "b": "missing", "c": "attempt-1"}.items():
        (tmp_path / "artifacts" / name).symlink_to(outside / target)

        with pytest.raises(ArtifactNotFound):
            store.open_reader(name)
        store.write(name, BytesIO(b"a picture"))
        with store.open_reader(name) as file:
            assert file.read() == b"a picture"
    assert (outside / "file").read_text() == CONTENT
    assert not (outside / "missing").exists()


def test_a_submission_that_is_a_link_is_not_handed_in(tmp_path: Path, session: Session) -> None:
    demo = load("demo", ["final.folds=2"])
    job = queue_final_job(demo.with_fixed(demo.search.baseline[0]), session.database, session.workspace)
    data = open_training_data(job.study, job.workspace)
    leave_results(job, data)
    first = make_ensemble(job, data).submission
    assert make_ensemble(job, data).submission == first
    shutil.move(first, tmp_path / "moved.csv")
    first.symlink_to(tmp_path / "moved.csv")
    odd = first.parent.parent / "odd" / "folder.csv"
    odd.mkdir(parents=True)

    again = make_ensemble(FinalJob(job.study, 1, job.workspace), data).submission
    assert again != first
    assert again.read_bytes() == (tmp_path / "moved.csv").read_bytes()


@pytest.mark.parametrize("name", ["trial-00000", "trial-00000/fold-0", "trial-00000/fold-0/attempt-1", ".partial-1"])
def test_cleaning_deletes_nothing_through_a_link(session: Session, outside: Path, name: str) -> None:
    link = session.workspace.folder / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    os.utime(link, (0, 0), follow_symlinks=False)

    clean_run(session, is_dry=False)

    assert (outside / "attempt-1" / "checkpoint-00000001.safetensors").read_text() == CONTENT
    assert link.is_symlink()


@pytest.mark.parametrize("name", [".data.lock", "study.toml"])
def test_a_file_that_is_a_link_is_never_written_through(session: Session, outside: Path, name: str) -> None:
    session.workspace.folder.mkdir(parents=True)
    (session.workspace.folder / name).symlink_to(outside / "file")

    try:
        with session.workspace.lock("data"), work_on(session, None):
            pass
    except StorageError as error:
        assert name in str(error)  # noqa: PT017, either is right
    assert (outside / "file").read_text() == CONTENT
