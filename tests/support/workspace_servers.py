"""Workspaces whose own PostgreSQL server can start: pytest's folders are closed to the account of root's server."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from foldrace.storage.errors import StorageError
from foldrace.storage.server.lifecycle import stop_server


@contextmanager
def open_workspace() -> Iterator[Path]:
    """An empty workspace that every account may enter; its server is stopped at the end."""
    root = Path(tempfile.mkdtemp(prefix="foldrace-ws-"))
    root.chmod(0o755)
    try:
        yield root
    finally:
        with suppress(StorageError):
            stop_server(root)
        shutil.rmtree(root, ignore_errors=True)


def postmaster(root: Path) -> int:
    """The process of a workspace's server."""
    return int((root / ".database/data/postmaster.pid").read_text(encoding="utf-8").split()[0])
