"""optuna-dashboard on a study's database and artifacts, behind `access`.

The dashboard is never served without that middleware, and never gets the URL of the database: it may hold a password.
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
from optuna.artifacts.exceptions import ArtifactNotFound

from foldrace.errors import FoldraceError
from foldrace.search.dashboard.access import AccessMiddleware, AccessSettings, names_of
from foldrace.search.dashboard.connections import LIMITS, channel_class
from foldrace.search.dashboard.outages import OutagePlugin
from foldrace.search.dashboard.pages import ImportancesPlugin, without_buttons
from foldrace.search.dashboard.storage import DashboardStorage, StudyDetailPlugin
from foldrace.search.recording.artifacts import Artifacts
from foldrace.search.session import Session
from foldrace.search.study_store import name_of_run
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.leases.lease import OWNED

LOOPBACK = "127.0.0.1"
_STUDY_PAGE = re.compile(r"/dashboard/studies/(\d{1,9})", re.ASCII)
_THREADS = 8  # a browser opens six connections


class DashboardError(FoldraceError):
    """The dashboard cannot be served as asked."""


def serve_dashboard(session: Session, host: str, port: int, allow_edit: bool, say: Callable[[str], None]) -> None:
    """Serve the dashboard until Ctrl-C; `say` prints a line for the user, the link first.

    Raises:
        StorageError: the study is not in the database.
        DashboardError: host and port cannot be listened on.
    """
    server, link = open_server(session, host, port, allow_edit)
    say(f"open      {link}")
    say(f"editing   {'on: everybody with the link can change anything' if allow_edit else 'off'}; Ctrl-C ends it")
    if not names_of(LOOPBACK)(host):
        say("network   everybody who reads its traffic has the link too; an SSH tunnel to a loopback port is safer")
    server.run()  # waitress returns at Ctrl-C


def open_server(session: Session, host: str = LOOPBACK, port: int = 0, allow_edit: bool = False) -> tuple[Any, str]:
    """A waitress server that listens and waits for its `run`, and the link with the token.

    Args:
        host: the name or address to listen on.
        port: 0: any free one.
        allow_edit: whether notes, trials and studies may be changed.

    Raises:
        StorageError: the study is not in the database, or a link leads out of the run's folder.
        DashboardError: host and port cannot be listened on.
    """
    session.workspace.refuse_links()
    database = session.database
    name = name_of_run(database, session.study.name)
    study_id = database.read(lambda connection: optuna_rows.find_study_id(connection, name))
    listener = _listen(host, port)
    port, token = listener.getsockname()[1], token_urlsafe(32)
    settings = AccessSettings(
        token=token,
        cookie="foldrace",
        is_our_name=names_of(host),
        lock_reason=lambda study_id: _lock_reason(database, study_id),
        home=f"/dashboard/studies/{study_id}",
        allow_edit=allow_edit,
    )
    app = _with_preload(_with_reading(database, _dashboard(session)))
    guarded = AccessMiddleware(app if allow_edit else without_buttons(app), settings)
    logging.getLogger("waitress").setLevel(logging.ERROR)  # it warns whenever a page asks for several things at once
    server = waitress.create_server(guarded, sockets=[listener], threads=_THREADS, ident=None, **LIMITS)
    server.channel_class = channel_class(guarded.takes_body)
    return server, f"http://{_for_link(host)}:{port}/?token={token}"


def _dashboard(session: Session) -> WSGIApplication:
    folder = session.workspace.inside("artifacts")
    with suppress(OSError):  # without the folder the dashboard shows no pictures
        folder.mkdir(parents=True, exist_ok=True)
    storage = DashboardStorage(session.database)
    bottled = optuna_dashboard.wsgi(storage, artifact_store=_Artifacts(folder))
    bottled.install(StudyDetailPlugin(storage))
    bottled.install(ImportancesPlugin(session.database))
    bottled.install(OutagePlugin(session.database))
    app: WSGIApplication = bottled
    return app


class _Artifacts(Artifacts):
    """A folder of artifacts, of which files may be missing."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        try:
            return super().open_reader(artifact_id)
        except ArtifactNotFound:
            raise bottle.HTTPError(404, "this artifact's file is gone") from None

    def remove(self, artifact_id: str) -> None:
        with suppress(ArtifactNotFound):  # a study whose artifacts are gone can be deleted
            super().remove(artifact_id)


def _with_reading(database: Database, app: WSGIApplication) -> WSGIApplication:
    """The app, with every GET as a read: on SQLite it does not hold up the workers that write."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return app(environ, start_response)
        with database.read_only():
            return app(environ, start_response)

    return answer


def _with_preload(app: WSGIApplication) -> WSGIApplication:
    """The app, with a Link header on a study's page: the browser fetches the data while it compiles the script."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # without it, the dashboard fails
        study = _STUDY_PAGE.fullmatch(environ["PATH_INFO"])

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
            link = f"</api/studies/{study[1]}?after=0>; rel=preload; as=fetch; crossorigin=anonymous" if study else ""
            return start_response(status, [*headers, ("Link", link)] if study else headers, *exc_info)

        return app(environ, start)

    return answer


def _lock_reason(database: Database, study_id: int) -> str | None:
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
        reason = str(error.strerror).partition(" (while")[0]  # the rest repeats the address
        raise DashboardError(
            f"--host {host} --port {port}: {reason}; give another, or --port 0 for a free one"
        ) from None


def _for_link(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
