"""A study opened for work: its settings, its workspace and its database, together.

Nothing here imports torch.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from foldrace.errors import FoldraceError
from foldrace.search.study_store import study_exists
from foldrace.storage.address import IN_WORKSPACE, parse, sqlite_file, sqlite_url, without_password, without_secrets
from foldrace.storage.database import Database
from foldrace.storage.engine.sqlite import discard_unused
from foldrace.storage.errors import OutageError, StorageError
from foldrace.storage.files.at_work import is_at_work
from foldrace.storage.outages import PATIENT, RetryPolicy
from foldrace.storage.server.place import ServerPlace
from foldrace.storage.workers import begun_studies
from foldrace.storage.workspace import WORKSPACE, Workspace
from foldrace.studies.loading import STORAGE_VARIABLE, load_stored
from foldrace.studies.study import Study, StudyError

VIEW = RetryPolicy(patience_seconds=10.0)  # for commands that show a study; the workers wait longer
_LEFT = {
    "logs",
    "study.toml",
    ".at-work",
    ".data.lock",
}  # what a run leaves in its folder that is refused before it was begun
PAGE = RetryPolicy(patience_seconds=2.0, lock_seconds=2.0)  # for who looks at a page


@dataclass(frozen=True)
class Session:
    """An open study. Leaving `open_session` closes its database."""

    study: Study
    workspace: Workspace
    database: Database


@contextmanager
def open_session(
    study: Study,
    root: Path,
    wait_seconds: float = 0.0,
    create: bool = True,
    retries: RetryPolicy = PATIENT,
) -> Iterator[Session]:
    """Open a study's workspace below `root`, and its database: its own, or a file in the workspace.

    A database that is made for what is then refused does not stay.

    Args:
        wait_seconds: how long to wait for a database that does not answer yet.
        retries: how long to wait for one that ceases to.

    Raises:
        StorageError: the database cannot be opened, or is not there and `create` is False.
    """
    workspace = Workspace(root, study.name)
    if create:
        refuse_missing_folder(study, workspace)
    url = storage_url(study, workspace)
    made = _missing_file(url) if create else None
    with telling_start(study.search.storage, workspace.root):
        database = Database.open(url, wait_seconds, create=create, retries=retries)
    try:
        yield Session(study, workspace, database)
    except FoldraceError:
        database.close()
        if made is not None:
            discard_unused(made)
        raise
    finally:
        database.close()


@contextmanager
def telling_start(storage: str | None, root: Path) -> Iterator[None]:
    """Name the command that starts the workspace's own server, where that is the storage and does not answer."""
    try:
        yield
    except OutageError as error:
        if storage != IN_WORKSPACE:
            raise
        there = "" if root.absolute() == WORKSPACE.absolute() else f" --workspace {root}"
        cure = f"`foldrace database start{there}` starts the workspace's database"
        raise OutageError(f"{cure}, which does not answer: {error}") from error


def _missing_file(url: str) -> Path | None:
    """The SQLite file of a URL where it is not there."""
    parsed = parse(url)
    return sqlite_file(parsed) if parsed.drivername == "sqlite" and not sqlite_file(parsed).exists() else None


@contextmanager
def begin_session(study: Study, root: Path, wait_seconds: float = 0.0) -> Iterator[Session]:
    """`open_session` for what may begin a run; where that is refused and nothing was begun, nothing of it stays."""
    workspace, is_begun = Workspace(root, study.name), True
    made = [folder for folder in (workspace.folder, *workspace.folder.parents) if not folder.exists()]
    try:
        with open_session(study, root, wait_seconds, retries=VIEW) as session:
            try:
                yield session
            except FoldraceError:
                with suppress(StorageError):
                    is_begun = bool(begun_studies(session.database, study.name))
                raise
    finally:
        if workspace.folder in made and not is_begun:
            _discard(workspace, made)


def _discard(workspace: Workspace, folders: list[Path]) -> None:
    """Remove the folder of a run in which is only what a refused run leaves, and of `folders` what is empty then."""
    if is_at_work(workspace.folder):
        return
    with suppress(OSError, StorageError), workspace.lock("data", 0.0):  # else another worker reads the data there
        if not {path.name for path in workspace.folder.glob("*")} - _LEFT:
            shutil.rmtree(workspace.folder)
            for folder in folders[1:]:
                folder.rmdir()


def refuse_missing_folder(study: Study, workspace: Workspace) -> None:
    """Raise StorageError where the study's SQLite file would lie in a folder that is not there, unless it is the run's.

    Also where the URL of its storage is none.
    """
    if study.search.storage in (None, IN_WORKSPACE):
        return
    url = parse(study.search.storage)
    folder = sqlite_file(url).parent
    if url.drivername == "sqlite" and folder != workspace.folder and not folder.is_dir():
        wrong = f"search.storage = {without_password(url)}: no folder {folder}"
        raise StorageError(f"{wrong}; make it, or give the path of a file in another one")


def start_storage(study: Study, root: Path) -> None:
    """Start the workspace's own server where the study is stored in it and it does not run. Raises StorageError."""
    if study.search.storage == IN_WORKSPACE:
        from foldrace.storage.server.lifecycle import start_server

        start_server(root)


def storage_url(study: Study, workspace: Workspace) -> str:
    """The URL of the study's database: its own, that of the workspace's server, or a file in the workspace.

    Raises:
        StorageError: the workspace has no server yet.
    """
    if study.search.storage == IN_WORKSPACE:
        return ServerPlace(workspace.root).url().render_as_string(hide_password=False)
    return study.search.storage or sqlite_url(workspace.folder / "study.db")


def refuse_other_database(session: Session) -> None:
    """Refuse to begin a search in a folder whose search another database has, as `study.toml` there says.

    Raises:
        StudyError: the file cannot be read.
        StorageError: the other database has the search, or does not answer.
    """
    study, workspace = session.study, session.workspace
    if not workspace.study_file.is_file() or study_exists(session.database, study.name):
        return
    before = load_stored(workspace.study_file)
    try:
        if not _has_search(before, session):
            return
    except StorageError as error:
        lost = f"where that is lost, remove {workspace.study_file}"
        raise StorageError(f"{workspace.folder}: another database may have its search: {error}; {lost}") from None
    there = before.search.storage or sqlite_url(workspace.folder / "study.db")
    remedy = "give that one, or --as NEW_NAME, which makes another search"
    raise StorageError(f"{workspace.folder}: search.storage = {there} has its search; {remedy}")


def refuse_other_storage(study: Study, workspace: Workspace) -> None:
    """Refuse to look for a run where it is not, as its `study.toml` says: in another database than the study's.

    Raises:
        StorageError: the study's own database is not there, or has no such run.
    """
    try:
        before = load_stored(workspace.study_file)
    except StudyError:
        return  # it is not there, or does not say where the run is
    there, here = (one.search.storage or sqlite_url(workspace.folder / "study.db") for one in (before, study))
    there, here = without_secrets(there), without_secrets(here)
    if there == here:
        return
    try:
        with open_session(study, workspace.root, create=False, retries=VIEW) as session:
            if begun_studies(session.database, study.name):
                return
    except OutageError:
        raise
    except StorageError:
        pass  # it is not there
    remedy = f"it is found by its name alone, {study.name}, and without {STORAGE_VARIABLE}"
    raise StorageError(f"{workspace.folder}: this run has search.storage = {there}, not {here}; {remedy}")


def _has_search(before: Study, session: Session) -> bool:
    """Whether another database, that of the study as it was before, has it; raises StorageError as `open_session`."""
    there, here = (parse(storage_url(study, session.workspace)) for study in (before, session.study))
    is_lost = there.drivername == "sqlite" and not Path(there.database or "").exists()
    if is_lost or there.set(password=None) == here.set(password=None):
        return False
    with open_session(before, session.workspace.root, create=False, retries=VIEW) as other:
        return study_exists(other.database, before.name)
