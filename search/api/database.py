"""A workspace's own PostgreSQL server: what `search.storage = "workspace"` means."""

from pathlib import Path
from typing import TYPE_CHECKING

from foldrace.storage.workspace import WORKSPACE

if TYPE_CHECKING:
    from foldrace.storage.server.lifecycle import ServerStatus


def start_database(
    workspace: str | Path = WORKSPACE,
    *,
    host: str | None = None,
    port: int | None = None,
    data: str | Path | None = None,
    backup: str | Path | None = None,
) -> "ServerStatus":
    """Start the PostgreSQL server of a workspace, which is made where there is none. It outlives this process.

    Args:
        host: the name or address that it listens on, `*` for all; by default as before, at first this machine alone.
        port: 0: any free one; by default as before.
        data: the folder of its data, on a local disk; by default in the workspace.
        backup: what `backup_database` wrote, with which a new server begins.

    Raises:
        StorageError: what is in the way: a port in use, no programs of PostgreSQL, a network file system, a full disk.
    """
    from foldrace.storage.server.lifecycle import ServerOptions, start_server

    folder, file = (None if path is None else Path(path) for path in (data, backup))
    return start_server(Path(workspace), ServerOptions(host, port, folder, file))


def stop_database(workspace: str | Path = WORKSPACE) -> bool:
    """Stop the server of a workspace; False where it did not run. Workers at work wait until it is started again."""
    from foldrace.storage.server.lifecycle import stop_server

    return stop_server(Path(workspace))


def database_url(workspace: str | Path = WORKSPACE) -> str:
    """The URL of the server of a workspace, with its password, whether it runs or not."""
    from foldrace.storage.server.place import ServerPlace

    return ServerPlace(Path(workspace)).url().render_as_string(hide_password=False)


def database_status(workspace: str | Path = WORKSPACE) -> "ServerStatus":
    """How the server of a workspace stands, by asking it; `print` shows it in one line."""
    from foldrace.storage.server.lifecycle import server_status

    return server_status(Path(workspace))


def backup_database(file: str | Path, *, workspace: str | Path = WORKSPACE) -> Path:
    """Write all that the server of a workspace holds at this moment into a file, also while workers use it."""
    from foldrace.storage.server.backup import backup_server

    return backup_server(Path(workspace), Path(file))
