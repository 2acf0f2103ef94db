"""The command line of a worker process. It holds no password: everybody on the machine can read it."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from foldrace.search.ensemble.job import write_first_study
from foldrace.search.session import Session, storage_url
from foldrace.search.study_store import public_toml
from foldrace.search.workers.slots import Slot
from foldrace.storage.address import without_secrets
from foldrace.storage.errors import StorageError
from foldrace.storage.files.at_work import at_work
from foldrace.storage.workers import new_owner
from foldrace.studies.identity import Identity
from foldrace.studies.loading import STORAGE_VARIABLE


@dataclass(frozen=True)
class _Note:
    """What a run at work tells the others in its folder."""

    identity: dict[str, str]
    storage: str


_NOTE = TypeAdapter(_Note)


class WorkerCommand:
    """Makes the command line of a worker process.

    The URL of the storage goes by the environment (`storage_in_environment`), because it may hold a password.

    Attributes:
        study_file, root, job, seconds_left: as they were given.
        owners: by slot, the name of the worker that was started last.
    """

    def __init__(self, study_file: Path, root: Path, job: str | None, seconds_left: Callable[[], float]) -> None:
        """The workers of the study in a file, in the workspace `root`, or of the job `job` beside it."""
        self._command = [sys.executable, "-P", "-m", "foldrace", "worker", str(study_file)]
        self._command += ["--workspace", str(root), "--parent", str(os.getpid())]
        self._command += [] if job is None else ["--job", job]
        self.study_file, self.root, self.job, self.seconds_left = study_file, root, job, seconds_left
        self.owners: dict[int, str] = {}

    def __call__(self, slot: Slot) -> Sequence[str]:
        self.owners[slot.index] = new_owner()
        command = [*self._command, "--device", slot.device.partition(":")[0], "--owner", self.owners[slot.index]]
        left = self.seconds_left()
        return command if left == float("inf") else [*command, "--time-limit", f"{max(left, 1):.0f}s"]


@contextmanager
def work_on(session: Session, job: str | None) -> Iterator[Path]:
    """Be at work on a study, or on the job `job` beside it; yields the study file that only this run's workers read.

    The `study.toml` of the run is written too: it says what was run last; beside an ensemble, what that is of.

    Raises:
        StorageError: a run of this name is at work in the same folder, with other settings or another database; or
            a link leads out of the run's folder.
    """
    workspace = session.workspace if job is None else session.workspace.job(job)
    workspace.refuse_links()
    identity, url = Identity.of(session.study), without_secrets(storage_url(session.study, session.workspace))
    note = json.dumps(asdict(_Note(identity.to_json(), url)))

    def refuse(text: str) -> None:
        there = f"{workspace.folder}: another run of {session.study.name} is at work there"
        try:
            other = _NOTE.validate_json(text)
        except ValueError:
            raise StorageError(f"{there}, with a note that cannot be read; wait for its end, or end it") from None
        changes = identity.words_since(Identity.from_json(other.identity, there))
        if changes:
            raise StorageError(f"{there} with other settings: {changes}; --as NEW_NAME makes another")
        # One server may have several addresses, one file has not.
        if other.storage != url and "sqlite" in (other.storage[:6], url[:6]):
            raise StorageError(f"{there} with another database, {other.storage}; --as NEW_NAME makes another")

    with at_work(workspace.folder, note, public_toml(session.study), refuse) as study_file:
        write_first_study(workspace.folder, session.study)
        yield study_file


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
