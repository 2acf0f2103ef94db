"""Where the server of a workspace keeps its files, and how others find it through the workspace.

WORKSPACE/.database/       address.json: where it listens, and where its data is; password: for its owner alone; lock
    data/                  PostgreSQL's own, with server.log; on another disk where `start --data` says so
"""

import json
import os
import re
import secrets
import socket
import stat
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa

from foldrace.storage.errors import StorageError, as_storage_error
from foldrace.storage.files.atomic import new_file
from foldrace.storage.files.locking import locked

FOLDER = ".database"  # no run has such a name
USER, DATABASE = "foldrace", "postgres"
_EVERYWHERE = ("0.0.0.0", "::", "*")
_LOCK_SECONDS = 120.0  # longer than a start takes


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Attributes:
        listens: the name or address of the machine that it listens on; `*` for all.
        machine: on which it runs, and where `data` is.
    """

    listens: str
    port: int
    machine: str
    data: str

    def __post_init__(self) -> None:
        """Raise ValueError for what is no address: a shell of PostgreSQL's reads `listens`."""
        words = (self.listens, self.machine, self.data)
        is_number = isinstance(self.port, int) and 0 <= self.port < 2**16
        if not (is_number and all(isinstance(word, str) and word.isprintable() for word in words)):
            raise ValueError(f"expected the address of a server, found {self}")
        if re.fullmatch(r"[A-Za-z0-9._:*-]+", self.listens) is None:
            raise ValueError(f"{self.listens}: expected a name or an address of this machine, or *")

    @property
    def host(self) -> str:
        """As which others reach it."""
        return self.machine if self.listens in _EVERYWHERE else self.listens

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return self.machine == socket.gethostname()


class ServerPlace:
    """The folder of a workspace in which its server is found."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.folder = self.root / FOLDER
        self._address, self._password = self.folder / "address.json", self.folder / "password"

    def lock(self) -> AbstractContextManager[None]:
        """Let one process at a time make, start or stop the server. Raises StorageError where the folder is a link."""
        if self.folder.is_symlink():
            raise StorageError(f"{self.folder}: a link, which is not followed; --data names a folder elsewhere")
        return locked(self.folder / "lock", _LOCK_SECONDS)

    def find(self) -> Address | None:
        """Where the server is; None where the workspace has none. Raises StorageError."""
        try:
            text = self._address.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self._address}: cannot be read: {error.strerror}") from None
        try:
            return Address(**json.loads(text))
        except (ValueError, TypeError, RecursionError):
            raise StorageError(
                f"{self._address}: not what foldrace wrote; `foldrace database start` needs it"
            ) from None

    def address(self) -> Address:
        """Where the server is. Raises StorageError where the workspace has none."""
        found = self.find()
        if found is None:
            start = f"`foldrace database start --workspace {self.root}` makes one"
            raise StorageError(f"{self.root}: no database of its own there yet; {start}")
        return found

    def url(self) -> sa.URL:
        """The URL of the server, with its password. Raises StorageError."""
        at = self.address()
        try:
            password = self._password.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise StorageError(f"{self._password}: cannot be read: {error.strerror}; its owner alone can") from None
        return sa.URL.create("postgresql+psycopg", USER, password, at.host, at.port, DATABASE)

    def remember(self, address: Address) -> None:
        """Let others find the server. Raises StorageError."""
        with new_file(self._address) as partial:
            partial.write_text(json.dumps(asdict(address)), encoding="utf-8")

    def forget(self) -> None:
        """Have the workspace know no server."""
        self._address.unlink(missing_ok=True)

    def make_password(self) -> Path:
        """A file for its owner alone, with a password that nobody knows; the one that is there stays.

        Raises:
            StorageError: somebody else may know the one that is there, or it cannot be written.
        """
        with as_storage_error(self._password):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._password.touch(mode=0o600, exist_ok=False)
            except FileExistsError:
                _refuse_known(self._password)
                if self._password.read_text(encoding="utf-8").strip():
                    return self._password
            self._password.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        return self._password


def _refuse_known(password: Path) -> None:
    """Raise StorageError unless a file is our own, and nobody else may read it."""
    found = password.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise StorageError(f"{password}: others may know it: not a file for its owner alone; remove it")
