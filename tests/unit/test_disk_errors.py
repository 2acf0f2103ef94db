"""What a full disk is called, whoever writes to it: this package, safetensors, tokenizers, or a command."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from foldrace.storage.database import Database
from foldrace.storage.errors import DiskError, StorageError, as_disk_error, as_storage_error

# As on a full disk: no file may grow beyond 4 KB.
FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from foldrace.storage.files.atomic import new_file, new_folder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
words = Tokenizer(models.WordLevel({f"word{i}": i for i in range(10_000)}, unk_token="word0"))
writes = [
    lambda path: save_file({"weight": torch.zeros(10_000)}, path / "weights"),
    lambda path: words.save(str(path / "tokenizer.json")),
    lambda path: (path / "file").write_bytes(b"x" * 10_000),
]
for write in writes:
    try:
        with new_folder(Path(sys.argv[1])) as folder:
            write(folder)
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_full_disk_is_named_whichever_library_writes(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path / "f"], capture_output=True, text=True, check=True)

    told = [line.partition("; what")[0] for line in done.stdout.splitlines()]
    assert told == [f"DiskError {tmp_path}/f: cannot be written: no room left"] * 3


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        *((number, DiskError) for number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)),
        (errno.EISDIR, StorageError),
    ],
)
def test_lost_room_and_lost_rights_are_no_faults_of_a_file(tmp_path: Path, number: int, kind: type) -> None:
    with pytest.raises(StorageError) as caught, as_storage_error(tmp_path / "file"):
        raise OSError(number, os.strerror(number), str(tmp_path / "file"))
    assert type(caught.value) is kind


LEFT = r"\d+ kB( and \d+ inodes)? are left on the disk of"


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "no room left; what was there before is whole; {left} {place}"),
        (errno.EDQUOT, "the quota of this user is used up; what was there before is whole"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, number: int, told: str) -> None:
    """Blocks and inodes end with the same error: how many are left tells which."""
    path = tmp_path / "not" / "there"
    line = f"{path}: cannot be written: {told.format(left=LEFT, place=tmp_path)}"
    with pytest.raises(DiskError, match=f"^{line}$"), as_storage_error(path):
        raise OSError(number, os.strerror(number))
    with pytest.raises(DiskError, match=f"^{line}$"), as_disk_error():
        raise RuntimeError from OSError(number, os.strerror(number), str(path))


def test_a_database_without_room_says_what_is_left(tmp_path: Path) -> None:
    def fill(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # it is that of the file at least
        connection.exec_driver_sql("CREATE TABLE large AS SELECT zeroblob(1000000)")

    database = Database.open(f"sqlite:///{tmp_path / 'study.db'}")
    with pytest.raises(DiskError, match=rf"study\.db: database or disk is full; {LEFT} {tmp_path}/study\.db$"):
        database.transact(fill)
    database.close()


def test_what_no_disk_is_at_fault_for_passes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="os error 28"), as_disk_error():
        raise ValueError("the text os error 28 in a sentence")
    with pytest.raises(PermissionError), as_disk_error():
        raise PermissionError(errno.EPERM, "of a signal")
    with pytest.raises(DiskError, match=r"^the output or the disk: cannot be written: no room left"), as_disk_error():
        raise RuntimeError from OSError(errno.ENOSPC, "full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.parametrize("command", ["--version", "--help", "list"])
def test_an_output_without_room_is_one_line(tmp_path: Path, command: str) -> None:
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(
            [sys.executable, "-m", "foldrace", command], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, check=False
        )
    line = "foldrace: the output or the disk: cannot be written: no room left; what was there before is whole\n"
    assert (told.returncode, told.stderr.decode()) == (os.EX_IOERR, line)
