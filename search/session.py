"""A study opened for work: its file, its workspace and its database, together; and the worker that serves it.

Nothing here imports torch before a worker is asked for.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search.devices import Slot
from search.queue import public_toml
from storage.address import sqlite_url
from storage.database import PATIENCE_SECONDS, Database
from storage.workers import new_owner
from storage.workspace import Workspace, atomic_write
from studies.study import Study

SAME_WISH_SECONDS = 2.0
VIEW_PATIENCE_SECONDS = 10.0  # of who only looks on: the workers have more, and nobody waits for a view


@dataclass(frozen=True)
class Session:
    """An open study. Close the database by leaving `open_session`."""

    study: Study
    workspace: Workspace
    database: Database


@contextmanager
def open_session(
    study: Study,
    root: Path,
    wait_seconds: float = 0.0,
    create: bool = True,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Iterator[Session]:
    """Open a study's workspace below `root` and its database; without a storage of its own, a file there.

    Args:
        wait_seconds: for a database that does not answer yet; patience_seconds: for one that ceases to.

    Raises:
        StorageError: the database cannot be opened, or is not there and `create` is False.
    """
    workspace = Workspace(root, study.name)
    url = storage_url(study, workspace)
    database = Database.open(url, wait_seconds, create=create, patience_seconds=patience_seconds)
    try:
        yield Session(study, workspace, database)
    finally:
        database.close()


def storage_url(study: Study, workspace: Workspace) -> str:
    """Of the study's database: its own, or a file in the workspace."""
    return study.search.storage or sqlite_url(workspace.folder / "study.db")


class WorkerCommand:
    """The command line of a worker process, and the name of the one started last in each slot.

    The storage goes by the environment: a URL may hold a password, and a command line can be seen by all.
    """

    def __init__(self, session: Session, final: int | None, seconds_left: Callable[[], float]) -> None:
        path = (session.workspace if final is None else session.workspace.final(final)).study_file
        atomic_write(path, public_toml(session.study))
        if session.study.search.storage is not None:  # else each worker finds the file in the workspace by itself
            os.environ["FOLDRACE_STORAGE"] = session.study.search.storage
        self._command = [sys.executable, "-P", "-m", "search.cli", "worker", str(path)]
        self._command += ["--workspace", str(session.workspace.root), "--parent", str(os.getpid())]
        self._command += [] if final is None else ["--final", str(final)]
        self._seconds_left = seconds_left
        self.owners: dict[int, str] = {}

    def __call__(self, slot: Slot) -> Sequence[str]:
        self.owners[slot.index] = new_owner()
        command = [*self._command, "--device", slot.device.partition(":")[0], "--owner", self.owners[slot.index]]
        left = self._seconds_left()
        return command if left == float("inf") else [*command, "--time-limit", f"{max(left, 1):.0f}s"]


class StopSignals:
    """Turns a first SIGTERM or SIGINT into a wish, and a later one into an end at once.

    A scheduler often signals every process of a job while the supervisor passes the signal on: what arrives within
    two seconds is the same wish.
    """

    def __init__(self) -> None:
        self._asked_at: float | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    @property
    def asked(self) -> bool:
        return self._asked_at is not None

    def _on_signal(self, number: int, frame: object) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        elif time.monotonic() - self._asked_at > SAME_WISH_SECONDS:
            os._exit(128 + number)


def seconds(text: str) -> float:
    """A duration such as `11h`, `90m`, `30s` or `1h30m`, in seconds.

    Raises:
        ValueError: it is not one.
    """
    total, number = 0.0, ""
    for character in text.strip().lower():
        if character in "hms" and number:
            total += float(number) * {"h": 3600, "m": 60, "s": 1}[character]
            number = ""
        elif character in "0123456789.":
            number += character
        else:
            raise ValueError(text)
    if number or not total:
        raise ValueError(text)
    return total


def countdown(limit: float | None) -> Callable[[], float]:
    """Seconds left of a limit that starts now; infinite without one."""
    end = float("inf") if limit is None else time.monotonic() + limit
    return lambda: end - time.monotonic()
