"""optuna-dashboard on a study's database and artifacts, behind `access`.

It must never be served without that door, and never learns the URL of the database, which may hold a password.
"""

import logging
import re
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from secrets import token_urlsafe
from typing import Any, BinaryIO
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import bottle
import optuna_dashboard
import sqlalchemy as sa
import waitress
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from foldrace.errors import FoldraceError
from foldrace.search.dashboard.access import Door, names_of
from foldrace.search.dashboard.storage import Detail, Shown
from foldrace.search.session import Session
from foldrace.search.study_store import name_of_run
from foldrace.storage import tables, workers
from foldrace.storage.database import Database
from foldrace.storage.leases import OWNED

LOOPBACK = "127.0.0.1"
_STUDY_PAGE = re.compile(r"/dashboard/studies/(\d+)", re.ASCII)
_THREADS = 8  # a browser opens six connections
_LARGEST_BODY = 64 * 2**20  # bytes; what --allow-edit may upload


class DashboardError(FoldraceError):
    """The dashboard cannot be served as asked."""


def serve(session: Session, host: str, port: int, allow_edit: bool, say: Callable[[str], None]) -> None:
    """Serve the dashboard until Ctrl-C; `say` is given the lines for the user, the link first.

    Raises:
        StorageError: the study is not in the database.
        DashboardError: host and port cannot be listened on.
    """
    server, link = open_server(session, host, port, allow_edit)
    say(f"open      {link}")
    say(f"editing   {'anything can be changed, by who has the link' if allow_edit else 'off'}; Ctrl-C ends it")
    if not names_of(LOOPBACK)(host):
        say("network   who reads its traffic has the link too; an SSH tunnel to a loopback port is safer")
    server.run()  # waitress takes Ctrl-C as a wish to end


def open_server(session: Session, host: str = LOOPBACK, port: int = 0, allow_edit: bool = False) -> tuple[Any, str]:
    """A waitress server that listens already, to be `run`; and the link that lets in.

    Args:
        host: the name or address to listen on.
        port: 0: any free one.
        allow_edit: whether notes, trials and studies may be changed.

    Raises:
        StorageError: the study is not in the database.
        DashboardError: host and port cannot be listened on.
    """
    database = session.database
    name = name_of_run(database, session.study.name)
    study_id = database.read(lambda connection: workers.study_id_of(database, connection, name))
    listener = _listen(host, port)
    port, token = listener.getsockname()[1], token_urlsafe(32)
    door = Door(
        _ahead(_reading(database, _dashboard(session))),
        token=token,
        cookie=f"foldrace-{port}",
        is_our_name=names_of(host),
        held=lambda study_id: _held(database, study_id),
        home=f"/dashboard/studies/{study_id}",
        allow_edit=allow_edit,
    )
    logging.getLogger("waitress").setLevel(logging.ERROR)  # that a page asks for much at once is no news
    server = waitress.create_server(
        door, sockets=[listener], threads=_THREADS, max_request_body_size=_LARGEST_BODY, ident=None
    )
    return server, f"http://{_for_link(host)}:{port}/?token={token}"


def _dashboard(session: Session) -> WSGIApplication:
    folder = session.workspace.inside("artifacts")
    with suppress(OSError):  # without the folder there are no pictures, and no harm in it
        folder.mkdir(parents=True, exist_ok=True)
    shown = Shown(session.database)
    bottled = optuna_dashboard.wsgi(shown, artifact_store=_Artifacts(folder))
    bottled.install(Detail(shown))
    app: WSGIApplication = bottled
    return app


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


def _ahead(app: WSGIApplication) -> WSGIApplication:
    """A study's page names the data that it will ask for: a browser fetches it while it compiles the script."""

    def named(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        study = _STUDY_PAGE.fullmatch(environ["PATH_INFO"])

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
            link = f"</api/studies/{study[1]}?after=0>; rel=preload; as=fetch; crossorigin=anonymous" if study else ""
            return start_response(status, [*headers, ("Link", link)] if study else headers, *exc_info)

        return app(environ, start)

    return named


def _held(database: Database, study_id: int) -> str | None:
    leases = tables.leases.c
    query = sa.select(sa.func.count()).where(leases.study_id == study_id, leases.state.in_(OWNED))
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
        reason = str(error.strerror).partition(" (while")[0]  # what follows repeats the address
        raise DashboardError(
            f"--host {host} --port {port}: {reason}; give another, or --port 0 for a free one"
        ) from None


def _for_link(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
