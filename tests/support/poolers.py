"""PgBouncer in transaction mode, where it is installed: each transaction may get another session of the server."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from tests.support.shared_folders import let_others_in

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")  # where Debian puts it


@contextmanager
def pooled(url: sa.URL, folder: Path, sessions: int) -> Iterator[str]:
    """The URL of the same database behind a pooler that has so many sessions of the server."""
    assert PGBOUNCER is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host={url.query['host']} user={url.username}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
        f"default_pool_size = {sessions}\n"
    )
    let_others_in(settings)  # it refuses to be root, and runs as the server does
    user = Path(str(url.query["host"])).stat().st_uid if os.geteuid() == 0 else None
    with subprocess.Popen([PGBOUNCER, "-q", str(settings)], user=user, extra_groups=[] if user else None) as pooler:
        try:
            _wait_until_it_listens(port)
            yield url.set(host="127.0.0.1", port=port, query={}).render_as_string()
        finally:
            pooler.terminate()


def _wait_until_it_listens(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("pgbouncer does not listen")
