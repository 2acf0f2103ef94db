"""The dashboard when clients are slow or rude, and when its database is away."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from foldrace.search.dashboard import connections
from foldrace.search.dashboard.server import open_server
from foldrace.search.session import PAGE, Session
from foldrace.search.study_store import open_study
from foldrace.storage.database import Database
from foldrace.storage.workspace import Workspace
from foldrace.studies.study import Study
from tests.integration.test_dashboard_server import Client
from tests.support.postgres import administer
from tests.support.serving import serving

Serve = Callable[..., Client]


@pytest.fixture
def serve(storage_url: str, make_study: Callable[..., Study], tmp_path: Path) -> Iterator[Serve]:
    """Serve a study; the client came by the link."""
    with ExitStack() as stack:

        def begin(**arguments: Any) -> Client:
            database = stack.enter_context(closing(Database.open(storage_url, retries=PAGE)))
            open_study(database, make_study("small"))
            session = Session(make_study("small"), Workspace(tmp_path / "runs", "small"), database)
            server, link = open_server(session, **arguments)
            stack.enter_context(serving(server))
            return Client(link)

        yield begin


def connect(client: Client, sent: str) -> socket.socket:
    host, _, port = client._address.partition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(sent.format(host=client._address, cookie=client.cookie).encode())
    return connection


@pytest.mark.parametrize(
    "half",
    [
        "",
        "GET /dashboard HTTP/1.1\r\nHost: ",
        "PUT /api/studies/1/note HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nContent-Length: 9\r\n\r\n{{",
    ],
)
def test_a_hundred_half_sent_requests_lock_nobody_out(serve: Serve, half: str) -> None:
    client = serve(allow_edit=True)
    with ExitStack() as stack:
        for _ in range(120):
            stack.enter_context(closing(connect(client, half)))

        assert client.ask("/api/studies")[0] == 200


@pytest.mark.parametrize("begun", ["GET /dashboard HTTP/1.1\r\n", "PUT /api/studies/1/note HTTP/1.1\r\nHost: x\r\n"])
def test_a_request_that_comes_in_byte_by_byte_is_cut_off(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    monkeypatch.setitem(connections.LIMITS, "channel_timeout", 1)
    monkeypatch.setitem(connections.LIMITS, "cleanup_interval", 1)
    client = serve()
    with closing(connect(client, begun)) as slow:
        slow.settimeout(0.2)
        while True:
            try:
                slow.sendall(b"X")
                if not slow.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break


BODY = "{method} {path} HTTP/1.1\r\nHost: {{host}}\r\nCookie: {cookie}\r\n{length}\r\n\r\n"
LONG, CHUNKED = "Content-Length: 60000000", "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("method", "path", "cookie", "length", "allow_edit", "status"),
    [
        ("PUT", "/api/studies/1/note", "", LONG, True, b"401"),
        ("POST", "/api/artifacts/1", "", CHUNKED, True, b"401"),
        ("POST", "/api/artifacts/1", "{cookie}", LONG, False, b"403"),
        ("GET", "/api/studies", "{cookie}", LONG, True, b"200"),
        ("PUT", "/api/studies/1/note", "{cookie}", LONG, True, b"413"),
        ("PUT", "/api/studies/1/note", "{cookie}", CHUNKED, True, b"413"),
        pytest.param("PUT", "/api/studies/1/note", "{cookie}", f"Content-Length: {'9' * 6000}", True, b"400", id="9"),
        ("GET", "/static/bundle.js", "{cookie}", "Connection: close", False, b"200"),  # it names no encoding
    ],
)
def test_a_body_is_taken_in_only_where_it_is_needed(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    cookie: str,
    length: str,
    allow_edit: bool,
    status: bytes,
) -> None:
    monkeypatch.setitem(connections.LIMITS, "channel_timeout", 600)  # who closes the connection is not the clock
    client = serve(allow_edit=allow_edit)
    asked = BODY.format(method=method, path=path, cookie=cookie, length=length)
    with closing(connect(client, asked)) as connection:
        answer = connection.makefile("rb").read()  # up to its end: no byte of the body was sent

    assert answer.split()[1] == status


def test_an_edit_is_taken_in(serve: Serve) -> None:
    client = serve(allow_edit=True)

    assert client.ask("/api/studies/1/note", "PUT", '{"version": 1, "body": "a note"}')[0] == 204
    assert "a note" in client.ask("/api/studies/1")[2]


@pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
def test_a_database_that_does_not_answer_is_said_within_seconds(serve: Serve, storage_url: str) -> None:
    client, engine = serve(), sa.create_engine(storage_url)
    with engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE trials IN ACCESS EXCLUSIVE MODE"))
        answers = [client.ask(path) for path in ("/api/studies", "/api/studies/1", "/dashboard")]
    engine.dispose()

    for status, _, line in answers:
        assert (status, line.count("\n")) == (503, 1)
        assert line.startswith("the database is away; try again: ")


@pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
def test_a_server_that_is_gone_is_said_and_comes_back(serve: Serve, storage_url: str, postgres_server: sa.URL) -> None:
    client, name = serve(), sa.make_url(storage_url).database
    drop = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    administer(postgres_server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', drop)
    away = client.ask("/api/studies")
    administer(postgres_server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')

    assert away[0] == 503
    assert client.ask("/api/studies")[0] == 200
