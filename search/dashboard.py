"""optuna-dashboard on a study's database and artifacts, behind the door of `search.door`.

It must never be served without that door, and never learns the URL of the database, which may hold a password.
"""

import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from secrets import token_urlsafe
from typing import BinaryIO
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import bottle
import optuna_dashboard
import sqlalchemy as sa
import waitress
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from foldrace import FoldraceError
from search.door import Door, names_of
from search.session import Session
from storage import tables, workers
from storage.database import Database

LOOPBACK, PORT = "127.0.0.1", 8080
_THREADS = 8  # a browser opens six connections
_LARGEST_BODY = 64 * 2**20  # bytes; what --allow-edit may upload


class DashboardError(FoldraceError):
    """The dashboard cannot be served as asked."""


def serve(
    session: Session,
    host: str = LOOPBACK,
    port: int = PORT,
    allow_edit: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the dashboard until Ctrl-C.

    Args:
        host: the name or address to listen on.
        port: 0: any free one.
        allow_edit: whether notes, trials and studies may be changed.
        say: is given the lines for the user, first the link.

    Raises:
        StorageError: the study is not in the database.
        DashboardError: host and port cannot be listened on.
    """
    database = session.database
    database.read(lambda connection: workers.study_id_of(database, connection, session.study.name))
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a page that asks for much at once is no news
    with suppress(KeyboardInterrupt), _listen(host, port) as listener:
        port, token = listener.getsockname()[1], token_urlsafe(32)
        app = make_app(database, session.workspace.inside("artifacts"), host, port, token, allow_edit)
        server = waitress.create_server(
            app, sockets=[listener], threads=_THREADS, max_request_body_size=_LARGEST_BODY, ident=None
        )
        say(f"open      http://{_for_link(host)}:{port}/?token={token}")
        say(f"may edit  {'yes, everything' if allow_edit else 'no; --allow-edit'}; Ctrl-C ends it")
        if not names_of(LOOPBACK)(host):
            say("network   whoever reads its traffic reads the key; `ssh -L` to a loopback port is safer")
        server.run()


def make_app(
    database: Database, artifacts: Path, host: str, port: int, token: str, allow_edit: bool = False
) -> WSGIApplication:
    """The dashboard of a database behind its door; the folder of artifacts is made when it is missing."""
    with suppress(OSError):  # without one there is nothing to show, and no harm in it
        artifacts.mkdir(parents=True, exist_ok=True)
    dashboard = optuna_dashboard.wsgi(database.storage, artifact_store=_Artifacts(artifacts))
    return Door(
        _reading(database, dashboard),
        token=token,
        cookie=f"foldrace-{port}",
        is_our_name=names_of(host),
        held=lambda study_id: _held(database, study_id),
        allow_edit=allow_edit,
    )


class _Artifacts(FileSystemArtifactStore):
    """A folder of artifacts from which some, or all, may be gone."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        try:
            return super().open_reader(artifact_id)
        except (ArtifactNotFound, OSError):
            raise bottle.HTTPError(404, "this artifact's file is gone") from None

    def remove(self, artifact_id: str) -> None:
        with suppress(ArtifactNotFound):  # else a study without its artifacts could never be deleted
            super().remove(artifact_id)


def _reading(database: Database, app: WSGIApplication) -> WSGIApplication:
    """On SQLite, whoever only looks must not hold up the workers that write."""

    def looked_at(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return app(environ, start_response)
        with database.reading():
            return app(environ, start_response)

    return looked_at


def _held(database: Database, study_id: int) -> str | None:
    leases = tables.leases.c
    query = sa.select(sa.func.count()).where(leases.study_id == study_id, leases.state == "held")
    count = database.read(lambda connection: connection.execute(query).scalar_one())
    if count == 0:
        return None
    return (
        f"workers hold {count} of this study's trials; `foldrace stop` lets them go, then it can be deleted or renamed"
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise DashboardError(f"--host {host} --port {port}: {error.strerror}; --port 0 takes a free port") from None


def _for_link(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
