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
from storage.database import Database
from storage.workspace import Workspace, atomic_write
from studies.study import Study


@dataclass(frozen=True)
class Session:
    """An open study. Close the database by leaving `open_session`."""

    study: Study
    workspace: Workspace
    database: Database


@contextmanager
def open_session(study: Study, root: Path, wait_seconds: float = 0.0, create: bool = True) -> Iterator[Session]:
    """Open a study's workspace below `root` and its database; without a storage of its own, a file there.

    Raises:
        StorageError: the database cannot be opened, or is not there and `create` is False.
    """
    workspace = Workspace(root, study.name)
    database = Database.open(storage_url(study, workspace), wait_seconds, create=create)
    try:
        yield Session(study, workspace, database)
    finally:
        database.close()


def storage_url(study: Study, workspace: Workspace) -> str:
    return study.search.storage or f"sqlite:///{workspace.folder / 'study.db'}"


def worker_command(session: Session, final: int | None = None) -> Callable[[Slot], Sequence[str]]:
    """The command line of a worker process; the storage goes by the environment, for a URL may hold a password."""
    folder = session.workspace.folder if final is None else session.workspace.final(final).folder
    path = folder / "study.toml"
    atomic_write(path, public_toml(session.study))
    os.environ["FOLDRACE_STORAGE"] = storage_url(session.study, session.workspace)
    command = [sys.executable, "-m", "search.cli", "worker", str(path), "--workspace", str(session.workspace.root)]
    if final is not None:
        command += ["--final", str(final)]

    def of_slot(slot: Slot) -> Sequence[str]:
        return [*command, "--device", slot.device.partition(":")[0], "--parent", str(os.getpid())]

    return of_slot


class StopSignals:
    """Turns a first SIGTERM or SIGINT into a wish, and a second one into an end at once."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        if self.asked:
            os._exit(128 + number)
        self.asked = True


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
