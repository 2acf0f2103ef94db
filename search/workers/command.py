"""The command line of a worker process. It holds no password: everybody on the machine can read it."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from foldrace.search.session import Session
from foldrace.search.study_store import public_toml
from foldrace.search.workers.slots import Slot
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workers import new_owner
from foldrace.studies.loading import STORAGE_VARIABLE


class WorkerCommand:
    """Makes the command line of a worker process.

    The URL of the storage goes by the environment (`storage_in_environment`), because it may hold a password.

    Attributes:
        owners: by slot, the name of the worker that was started last.
    """

    def __init__(self, session: Session, job: str | None, seconds_left: Callable[[], float]) -> None:
        """The workers of a study, or of the job `job` beside it; writes the study file that they read."""
        path = (session.workspace if job is None else session.workspace.job(job)).study_file
        atomic_write(path, public_toml(session.study))
        self._command = [sys.executable, "-P", "-m", "foldrace", "worker", str(path)]
        self._command += ["--workspace", str(session.workspace.root), "--parent", str(os.getpid())]
        self._command += [] if job is None else ["--job", job]
        self._seconds_left = seconds_left
        self.owners: dict[int, str] = {}

    def __call__(self, slot: Slot) -> Sequence[str]:
        self.owners[slot.index] = new_owner()
        command = [*self._command, "--device", slot.device.partition(":")[0], "--owner", self.owners[slot.index]]
        left = self._seconds_left()
        return command if left == float("inf") else [*command, "--time-limit", f"{max(left, 1):.0f}s"]


@contextmanager
def storage_in_environment(session: Session) -> Iterator[None]:
    """Have processes that start meanwhile find the study's database: by its URL, or as a file in the workspace."""
    before, url = os.environ.get(STORAGE_VARIABLE), session.study.search.storage
    if url is not None:
        os.environ[STORAGE_VARIABLE] = url
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(STORAGE_VARIABLE, None)
        else:
            os.environ[STORAGE_VARIABLE] = before
