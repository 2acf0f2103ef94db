"""The paths of a run, which never leave the workspace, and its locks."""

from pathlib import Path

import pytest

from foldrace.storage.errors import StorageError
from foldrace.storage.workspace import Workspace, attempts_in


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", ".hidden", "a\0b", "/etc", "x" * 101, "a\n"])
def test_a_name_cannot_leave_the_workspace(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError):
        Workspace(tmp_path, name)
    with pytest.raises(StorageError):
        Workspace(tmp_path, "study").inside("figures", name)


def test_paths_are_those_of_the_design(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "study")
    assert workspace.study_file == tmp_path / "study" / "study.toml"
    assert workspace.fold(12, 0) == tmp_path / "study" / "trial-00012" / "fold-0"
    assert workspace.final(1).folder == tmp_path / "study" / "final-1"


def test_attempts_are_listed_newest_first(tmp_path: Path) -> None:
    for name in ("attempt-1", "attempt-10", "attempt-2", "attempt-x"):
        (tmp_path / name).mkdir()
    assert [path.name for path in attempts_in(tmp_path)] == ["attempt-10", "attempt-2", "attempt-1"]


def test_a_lock_that_stays_taken_is_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "study")
    with workspace.lock("tokenizer"), pytest.raises(StorageError, match="tokenizer"), workspace.lock("tokenizer", 0.0):
        pass


def test_a_lock_in_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("a file where the folder should be")
    workspace = Workspace(tmp_path, "study")
    with pytest.raises(StorageError, match="study: cannot be written: not a folder"), workspace.lock("data"):
        pass


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "study" / ".data.lock").mkdir(parents=True)
    workspace = Workspace(tmp_path, "study")
    with pytest.raises(StorageError, match=r"\.data\.lock: cannot be written: "), workspace.lock("data"):
        pass


def test_an_error_under_a_lock_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Workspace(tmp_path, "study").lock("data"):
        (tmp_path / "not there").read_text()
