"""Files appear whole or not at all, and never outside the workspace."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from foldrace.storage.errors import StorageError
from foldrace.storage.workspace import Workspace, atomic_write, attempts_in, new_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    atomic_write(tmp_path / "deep" / "a.txt", "first")
    atomic_write(tmp_path / "deep" / "a.txt", b"second")
    assert (tmp_path / "deep" / "a.txt").read_text() == "second"
    assert names(tmp_path / "deep") == ["a.txt"]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "tokenizer") as folder:
        (folder / "vocabulary.txt").write_text("a b c")
        assert not (tmp_path / "tokenizer").exists()
    assert names(tmp_path / "tokenizer") == ["vocabulary.txt"]
    assert names(tmp_path) == ["tokenizer"]


def test_a_folder_replaces_the_one_before(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with new_folder(tmp_path / "model") as folder:
            (folder / name).touch()
    assert names(tmp_path / "model") == ["new"]
    assert names(tmp_path) == ["model"]


def test_a_folder_whose_making_fails_does_not_appear(tmp_path: Path) -> None:
    with suppress(ZeroDivisionError), new_folder(tmp_path / "model") as folder:
        (folder / "half").touch()
        raise ZeroDivisionError
    assert names(tmp_path) == []


# As on a full disk: no file may grow beyond 4 KB.
FULL = """
import resource, signal, sys
from contextlib import suppress
from pathlib import Path
from foldrace.storage.workspace import atomic_write, new_folder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
folder = Path(sys.argv[1])
for write in (lambda: atomic_write(folder / "a.txt", "x" * 10000), lambda: fill(folder / "b")):
    try:
        write()
    except Exception as error:
        print(type(error).__name__, error)
"""
FILL = """
def fill(path):
    with new_folder(path) as folder:
        (folder / "weights").write_bytes(b"x" * 10000)
"""


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("whole")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "weights").write_text("whole")
    script = FULL.replace("folder = Path", FILL + "folder = Path")
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert [line.split(": ", 1)[1].split(";")[0] for line in done.stdout.splitlines()] == [
        "cannot be written: no room left"
    ] * 2
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "b" / "weights").read_text() == "whole"
    assert names(tmp_path) == ["a.txt", "b"]


def test_a_lock_that_stays_taken_is_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "study")
    with workspace.lock("tokenizer"), pytest.raises(StorageError, match="tokenizer"), workspace.lock("tokenizer", 0.0):
        pass
