"""Two runs of one name in one folder, and what is said when the files of a run go away under it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foldrace.search.launch.lost_files import watch_files
from foldrace.search.session import Session, open_session
from foldrace.search.workers.command import work_on
from foldrace.storage.errors import StorageError
from foldrace.storage.files.at_work import at_work
from foldrace.studies.loading import load
from foldrace.studies.study import Study

MakeStudy = Callable[..., Study]


@contextmanager
def run_of(study: Study, folder: Path, storage: str | None = None) -> Iterator[Path]:
    """A run at work; yields the study file of its workers."""
    study = study.model_copy(update={"search": study.search.model_copy(update={"storage": storage})})
    with open_session(study, folder) as session, work_on(session, None) as study_file:
        yield study_file


def changed(study: Study, section: str, **values: object) -> Study:
    return study.model_copy(update={section: getattr(study, section).model_copy(update=values)})


def test_a_run_with_other_settings_is_refused_while_one_of_its_name_is_at_work(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study()
    others = {
        "folds.seed is 5": changed(study, "folds", seed=5),
        "model.max_length is 100": changed(study, "model", max_length=100),
        "search.seed is 9": changed(study, "search", seed=9),
    }
    for storage in (None, f"sqlite:///{tmp_path}/other.db"):
        with run_of(study, tmp_path):
            for said, other in others.items():
                with pytest.raises(StorageError, match=f"small is at work there with other settings: {said}"):
                    run_of(other, tmp_path, storage).__enter__()
    with run_of(others["search.seed is 9"], tmp_path, f"sqlite:///{tmp_path}/other.db"):
        pass  # nobody is at work any more


def test_a_run_with_another_file_as_database_is_refused(make_study: MakeStudy, tmp_path: Path) -> None:
    said = r"with another database, sqlite:///.*study.db; --as NEW_NAME"
    with run_of(make_study(), tmp_path), pytest.raises(StorageError, match=said):
        run_of(make_study(), tmp_path, f"sqlite:///{tmp_path}/other.db").__enter__()


def test_runs_of_the_same_settings_work_together_and_each_worker_reads_those_of_its_run(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    with run_of(make_study(trials=4), tmp_path) as one, run_of(make_study(trials=9), tmp_path) as other:
        assert [load(file, files=False).search.trials for file in (one, other)] == [4, 9]
    assert not list(one.parent.glob("*.toml"))


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"identity": {"a": 1}, "storage": 2}', "\x00" * 9])
def test_a_note_that_cannot_be_read_is_one_line(make_study: MakeStudy, tmp_path: Path, note: str) -> None:
    with at_work(tmp_path / "small", note, "", print), pytest.raises(StorageError, match="a note that cannot be read"):
        run_of(make_study(), tmp_path).__enter__()


def test_what_is_no_file_among_the_notes_is_passed_over(make_study: MakeStudy, tmp_path: Path) -> None:
    folder = tmp_path / "small" / ".at-work"
    (folder / "a.note").mkdir(parents=True)
    os.mkfifo(folder / "b.note")  # to open it is to wait for ever
    (folder / "c.note").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("kept")
    with run_of(make_study(), tmp_path):
        pass
    assert (tmp_path / "elsewhere").read_text() == "kept"


def test_the_note_of_a_run_that_was_killed_keeps_nobody_out(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from foldrace.storage.files.at_work import at_work
with at_work(pathlib.Path({str(tmp_path)!r}), "note", "settings", print): os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(tmp_path.glob(".at-work/*.note"))
    seen: list[str] = []

    with at_work(tmp_path, "note", "settings", seen.append), at_work(tmp_path, "other", "settings", seen.append):
        pass

    assert seen == ["note"]
    assert not list(tmp_path.glob(".at-work/*.note"))


def _remove_run(session: Session) -> None:
    shutil.rmtree(session.workspace.folder)


def _move_run(session: Session) -> None:
    session.workspace.folder.rename(session.workspace.folder.with_name("moved"))


def _remove_database(session: Session) -> None:
    (session.workspace.folder / "study.db").unlink()


def _replace_database(session: Session) -> None:
    file = session.workspace.folder / "study.db"
    shutil.copy(file, file.with_name("copy.db"))
    file.with_name("copy.db").replace(file)


def _put_a_file_there(session: Session) -> None:
    shutil.rmtree(session.workspace.folder)
    session.workspace.folder.touch()


@pytest.mark.parametrize(
    "lose", [_remove_run, _move_run, _remove_database, _replace_database, _put_a_file_there], ids=lambda f: f.__name__
)
def test_files_of_a_run_that_go_away_under_it_are_named(
    make_study: MakeStudy, tmp_path: Path, lose: Callable[[Session], None]
) -> None:
    with open_session(make_study(), tmp_path) as session, work_on(session, None) as study_file:
        files = watch_files(session, study_file)
        files.refuse_lost()

        lose(session)

        with pytest.raises(StorageError, match=r"/small/.*: was removed, moved or replaced while the run was at work"):
            files.refuse_lost()
