"""The database of workers on several machines: one that all of them reach."""

import shlex
from pathlib import Path

from foldrace.search.session import storage_url
from foldrace.storage.address import MOUNTS, network_file_system, parse, sqlite_file
from foldrace.storage.errors import StorageError
from foldrace.storage.server.lifecycle import EVERYWHERE, LOOPBACK, ServerOptions, ServerStatus, start_server
from foldrace.storage.server.place import ServerPlace
from foldrace.storage.workspace import Workspace
from foldrace.studies.study import Study


def refuse_shared_file(study: Study, workspace: Workspace, mounts: Path = MOUNTS) -> None:
    """Raise StorageError for an SQLite file on a network file system, which several machines would share."""
    url = parse(storage_url(study, workspace))
    if url.drivername != "sqlite":
        return
    file = sqlite_file(url)
    kind = network_file_system(file.resolve(), mounts)
    if kind:
        right = 'write search.storage = "workspace", or the URL of a PostgreSQL server'
        raise StorageError(f"{file}: SQLite on a network file system ({kind}) loses data of several machines; {right}")


def open_to_nodes(root: Path) -> ServerStatus:
    """Have the workspace's own server run where other machines can reach it. Raises StorageError."""
    return start_server(root, ServerOptions() if _is_open(root) else ServerOptions(host=EVERYWHERE))


def opening_command(root: Path) -> str:
    """The command that does what `open_to_nodes` does. Raises StorageError."""
    host = [] if _is_open(root) else ["--host", EVERYWHERE]
    return shlex.join(["foldrace", "database", "start", *host, "--workspace", str(root.absolute())])


def _is_open(root: Path) -> bool:
    before = ServerPlace(root).find()
    return before is not None and before.listens != LOOPBACK
