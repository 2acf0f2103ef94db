"""What was read is what is recorded: a data file that is replaced meanwhile never gives another study's rows."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from foldrace.search.ensemble.job import queue_final_job
from foldrace.search.session import Session
from foldrace.search.study_store import final_name, open_study, stored_study
from foldrace.search.workers.entrypoint import WorkerOptions, run_worker
from foldrace.storage.database import Database
from foldrace.storage.errors import StorageError
from foldrace.storage.workspace import Workspace
from foldrace.studies.identity import Identity
from foldrace.studies.loading import SHIPPED, load
from foldrace.studies.study import Study
from foldrace.trainer.training_data import open_training_data

FILES = {"train": "train.tsv", "labels": "label_type.json", "test": "test.tsv"}


def replaced(path: Path) -> None:
    """Other content of the same form: no row, class or token need differ for it to be another file."""
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    shutil.copytree(SHIPPED / "demo", tmp_path / "data")
    return load("demo", [f"data.{key}={tmp_path / 'data' / name}" for key, name in FILES.items()])


@pytest.fixture
def database(storage_url: str) -> Iterator[Database]:
    with closing(Database.open(storage_url)) as opened:
        yield opened


@pytest.mark.parametrize("key", FILES)
def test_the_digest_is_of_the_bytes_that_were_read(tmp_path: Path, study: Study, key: str) -> None:
    study = study.with_fixed(study.search.baseline[0])  # a final job, of which the test rows are a part
    before = Identity.of(study)
    data = open_training_data(study, Workspace(tmp_path / "runs", study.name))
    replaced(tmp_path / "data" / FILES[key])

    assert data.identity == before
    changes = Identity.of(study).changes_since(data.identity)
    assert changes == [f"the content of data.{key} has changed ({tmp_path / 'data' / FILES[key]})"]


@pytest.mark.parametrize("key", ["train", "labels"])
def test_a_worker_that_reads_other_rows_than_the_study_has_ends(
    tmp_path: Path, study: Study, database: Database, key: str
) -> None:
    open_study(database, study)
    replaced(tmp_path / "data" / FILES[key])

    with pytest.raises(StorageError, match=rf"the content of data\.{key} has changed \(.*{FILES[key]}\)"):
        run_worker(Session(study, Workspace(tmp_path, study.name), database), WorkerOptions("cpu"), lambda: True)


def test_the_first_worker_records_the_rows_that_it_read(
    tmp_path: Path, study: Study, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is replaced after it was read, and before the study is made of it."""
    before = Identity.of(study)
    after_reading(monkeypatch, lambda: replaced(tmp_path / "data" / "train.tsv"))

    run_worker(Session(study, Workspace(tmp_path, study.name), database), WorkerOptions("cpu"), lambda: True)

    assert stored_study(database, study.name).identity == before


@pytest.mark.parametrize("key", FILES)
def test_a_worker_of_a_final_job_reads_what_was_queued(
    tmp_path: Path, study: Study, database: Database, key: str
) -> None:
    workspace = Workspace(tmp_path, study.name)
    job = queue_final_job(study.with_fixed(study.search.baseline[0]), database, workspace)
    replaced(tmp_path / "data" / FILES[key])

    with pytest.raises(StorageError, match=rf"{final_name(study.name, 1)} .*data\.{key} has changed"):
        run_worker(Session(job.study, workspace, database), WorkerOptions("cpu", "final-1"), lambda: True)


def after_reading(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Have something happen between a worker's reading of the data and its making of the study."""
    monkeypatch.setattr("foldrace.search.workers.entrypoint.check_source", lambda *_: then())
