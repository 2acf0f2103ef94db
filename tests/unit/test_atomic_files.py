"""Files and folders appear whole or not at all, whatever kills their writer, with the mode that the umask gives."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from foldrace.storage.errors import StorageError
from foldrace.storage.files import atomic, exchange
from foldrace.storage.files.atomic import atomic_write, new_file, new_folder, restore_folder
from foldrace.storage.files.own_files import write_own
from tests.support.killing import killed_at


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
from foldrace.storage.files.atomic import atomic_write, new_folder
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


@pytest.fixture(params=["an exchange", "two renames"])
def swapping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system has an exchange of two names, or (as NFS) has none."""
    if request.param == "two renames":
        monkeypatch.setattr(atomic, "exchange", lambda *_: False)


@pytest.mark.usefixtures("swapping")
def test_a_folder_replaces_the_one_before(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with new_folder(tmp_path / "model") as folder:
            (folder / name).touch()
    assert names(tmp_path / "model") == ["new"]
    assert names(tmp_path) == ["model"]


@pytest.mark.usefixtures("swapping")
def test_a_process_killed_at_any_step_leaves_the_old_folder_or_the_new_one(tmp_path: Path) -> None:
    step, found = 0, []
    while True:
        path = tmp_path / str(step) / "model"
        replace_folder(path, "old")
        was_killed = killed_at(step, lambda path=path: replace_folder(path, "new"))  # type: ignore[misc]
        restore_folder(path)
        found += names(path)
        if not was_killed:
            break
        step += 1

    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == ("old", "new")
    assert step > 10


def replace_folder(path: Path, name: str) -> None:
    with new_folder(path) as folder:
        (folder / name).touch()


def test_where_names_are_exchanged_nobody_has_to_restore_a_folder(tmp_path: Path) -> None:
    step = 0
    replace_folder(tmp_path / "model", "old")
    if not exchange.exchange(tmp_path / "model", tmp_path / "model"):
        pytest.skip("this file system cannot exchange two names")
    while killed_at(step, lambda: replace_folder(tmp_path / "model", "new")):
        assert len(names(tmp_path / "model")) == 1
        step += 1


def test_a_folder_that_a_dead_process_set_aside_goes_with_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "exchange", lambda *_: False)
    replace_folder(tmp_path / ".previous-model", "older")

    replace_folder(tmp_path / "model", "new")

    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["new"]


def test_two_names_are_exchanged_in_one_step_or_not_at_all(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_text(name)

    exchanged = exchange.exchange(tmp_path / "one", tmp_path / "other")

    contents = [(tmp_path / name).read_text() for name in ("one", "other")]
    assert contents == (["other", "one"] if exchanged else ["one", "other"])
    with pytest.raises(FileNotFoundError):
        exchange.exchange(tmp_path / "one", tmp_path / "none")


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_files_and_folders_have_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a.txt", "a")
    with new_file(tmp_path / "checkpoint") as file:
        save_file({"weights": np.zeros(3)}, file)
    with new_folder(tmp_path / "model") as folder:
        save_file({"weights": np.zeros(3)}, folder / "weights")

    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"a.txt": 0o640, "checkpoint": 0o640, "model": 0o750, "weights": 0o640}


def test_no_write_changes_the_umask_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "umask")

    atomic_write(tmp_path / "a.txt", "a")
    replace_folder(tmp_path / "model", "weights")

    assert names(tmp_path) == ["a.txt", "model"]


def test_a_file_that_cannot_be_moved_into_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt" / "b").mkdir(parents=True)
    with (
        pytest.raises(StorageError, match=r"a\.txt: cannot be written: Is a directory"),
        new_file(tmp_path / "a.txt") as file,
    ):
        file.write_text("a")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("write", [atomic_write, lambda path, text: write_own(path, text, path.parent / "run")])
def test_a_device_is_neither_read_nor_replaced(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")  # to read it would have no end
    for path in (pipe, link):
        with pytest.raises(StorageError, match=f"^{path}: a device, a pipe or a socket, not a file"):
            write(path, "text")
    assert pipe.is_fifo()
    assert link.is_symlink()
