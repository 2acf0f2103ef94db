"""A server that refuses a user, a password or a database is no outage; and no password is ever shown."""

import logging
import socket
import socketserver
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_plus

import pytest
import sqlalchemy as sa

from foldrace.storage.address import redact
from foldrace.storage.database import Database
from foldrace.storage.errors import OutageError, StorageError
from foldrace.storage.outages import RetryPolicy

CANARY = "hunter2-canary"


@pytest.fixture
def locked_url(fresh_postgres: Callable[[str], str]) -> Iterator[sa.URL]:
    """A database whose user has to give a password."""
    empty = fresh_postgres("template0")
    owner = sa.create_engine(empty, isolation_level="AUTOCOMMIT")
    url = sa.make_url(empty).set(username="locked")
    with owner.connect() as connection:
        connection.execute(sa.text(f"CREATE ROLE locked LOGIN PASSWORD '{CANARY}'"))
        connection.execute(sa.text("CREATE ROLE rejected LOGIN"))
        connection.execute(sa.text("CREATE ROLE guest LOGIN"))
        connection.execute(sa.text(f'ALTER DATABASE "{url.database}" OWNER TO locked'))
        rules = Path(str(connection.execute(sa.text("SHOW hba_file")).scalar()))
        before = rules.read_text()
        rules.write_text("local all locked scram-sha-256\nlocal all rejected reject\n" + before)
        connection.execute(sa.text("SELECT pg_reload_conf()"))
        yield url
        rules.write_text(before)
        connection.execute(sa.text("SELECT pg_reload_conf()"))
        connection.execute(sa.text(f'ALTER DATABASE "{url.database}" OWNER TO postgres'))
        connection.execute(sa.text("REASSIGN OWNED BY locked TO postgres"))
        connection.execute(sa.text("DROP OWNED BY locked"))
        connection.execute(sa.text("DROP ROLE locked, rejected, guest"))
    owner.dispose()


def test_a_password_may_come_from_the_environment_or_a_file(
    locked_url: sa.URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = locked_url.render_as_string()
    with pytest.raises(StorageError, match=r"no password supplied; put it into PGPASSWORD or ~/\.pgpass"):
        Database.open(bare)
    monkeypatch.setenv("PGPASSWORD", CANARY)
    Database.open(bare).close()
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "pgpass").write_text(f"*:*:*:locked:{CANARY}\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    Database.open(bare).close()


def test_a_password_with_any_character_works_and_is_never_shown(
    locked_url: sa.URL, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    odd = CANARY + "{}@/%:#?"
    owner = sa.create_engine(locked_url.set(username="postgres"), isolation_level="AUTOCOMMIT")
    with owner.connect() as connection:
        connection.exec_driver_sql(f"ALTER ROLE locked PASSWORD '{odd.replace('%', '%%')}'")
    owner.dispose()
    database = Database.open(locked_url.set(password=odd).render_as_string(hide_password=False))
    assert database.storage.get_all_studies() == []
    shown = [repr(database), str(database), database.address, repr(database.engine), caplog.text]
    assert CANARY not in "".join(shown)
    database.close()
    with pytest.raises(StorageError, match="password authentication failed") as caught:
        Database.open(locked_url.set(password=CANARY + "wrong").render_as_string(hide_password=False))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def patient(now: list[float]) -> RetryPolicy:
    def sleep(seconds: float) -> None:
        now[0] += seconds

    return RetryPolicy(clock=lambda: now[0], sleep=sleep)


def with_password(url: sa.URL, **changed: str) -> str:
    return url.set(password=CANARY).set(**changed).render_as_string(hide_password=False)  # type: ignore[arg-type]


def administer(url: sa.URL, *statements: str) -> None:
    engine = sa.create_engine(url.set(username="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"password": "wrong"}, 'password authentication failed for user "locked"'),
        ({"username": "ghost"}, 'role "ghost" does not exist'),
        ({"database": "ghost"}, 'database "ghost" does not exist'),
        ({"username": "rejected"}, 'pg_hba.conf rejects connection for host .*, user "rejected"'),
        ({"username": "guest"}, "permission denied for schema public"),
    ],
)
def test_a_refusal_is_told_at_once_as_the_users_to_mend(
    locked_url: sa.URL, now: list[float], changed: dict[str, str], message: str
) -> None:
    with pytest.raises(StorageError, match=message) as caught:
        Database.open(with_password(locked_url, **changed), wait_seconds=600, retries=patient(now))

    assert (caught.value.status, now[0]) == (2, 0)


def test_a_role_without_a_free_connection_is_waited_for(locked_url: sa.URL, now: list[float]) -> None:
    administer(locked_url, "ALTER ROLE locked CONNECTION LIMIT 0")

    with pytest.raises(OutageError, match="too many connections for role"):
        Database.open(with_password(locked_url), wait_seconds=600, retries=patient(now))

    assert now[0] > 500


@pytest.mark.parametrize(
    "ask",
    [lambda database: database.transact(lambda c: c.execute(sa.text("SELECT 1"))), lambda database: database.storage],
)
def test_a_password_that_is_changed_in_the_middle_of_a_run_is_no_outage(
    locked_url: sa.URL, now: list[float], ask: Callable[[Database], object]
) -> None:
    database = Database.open(with_password(locked_url), retries=patient(now))
    drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'locked'"
    administer(locked_url, "ALTER ROLE locked PASSWORD 'another'", drop)

    with pytest.raises(StorageError, match="password authentication failed") as caught:
        ask(database)

    assert (caught.value.status, now[0]) == (2, 0)
    database.close()


@pytest.fixture
def answer() -> Iterator[Callable[[str, str], str]]:
    """Makes a server of PostgreSQL's protocol that ends every connection with one message; gives its URL."""
    servers: list[socketserver.BaseServer] = []

    def serve(severity: str, message: str) -> str:
        fields = b"".join(key + text.encode() + b"\0" for key, text in ((b"S", severity), (b"M", message)))

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                connection: socket.socket = self.request
                while connection.recv(4096)[4:8] in ENCRYPTION_REQUESTS:
                    connection.sendall(b"N")
                connection.sendall(b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0")

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"postgresql+psycopg://me:{CANARY}@localhost:{server.server_address[1]}/trials"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


ENCRYPTION_REQUESTS = (struct.pack("!i", 80877103), struct.pack("!i", 80877104))  # SSL, GSS


@pytest.mark.parametrize(
    ("severity", "message"),
    [
        ("FATAL", "Passwort-Authentifizierung für Benutzer »me« fehlgeschlagen"),
        ("FATAL", "authentification par mot de passe échouée pour l'utilisateur «\u00a0me\u00a0»"),
        ("치명적오류", '사용자 "me"의 password 인증을 실패했습니다'),
        ("치명적오류", '"trials" 데이터베이스 없음'),
        ("致命错误", '用户 "me" Password 认证失败'),
        ("FATAL", "no such user: me"),
        ("FATAL", "SASL authentication failed"),
    ],
)
def test_a_refusal_is_known_in_every_language_and_from_a_pooler(
    answer: Callable[[str, str], str], now: list[float], severity: str, message: str
) -> None:
    with pytest.raises(StorageError) as caught:
        Database.open(answer(severity, message), wait_seconds=600, retries=patient(now))

    assert (caught.value.status, now[0]) == (2, 0)
    assert message.split()[0] in str(caught.value)


@pytest.mark.parametrize(
    ("severity", "message"),
    [
        ("FATAL", "the database system is starting up"),
        ("FATAL", "sorry, too many clients already"),
        ("FATAL", 'too many connections for database "trials"'),
        (
            "FATAL",
            'remaining connection slots are reserved for roles with the "pg_use_reserved_connections" role',
        ),
        ("치명적오류", "데이터베이스 시스템이 새로 가동 중입니다."),
        ("FATAL", "tut mir leid, schon zu viele Verbindungen"),
        ("FATAL", "no more connections allowed (max_client_conn)"),
    ],
)
def test_a_server_that_has_no_room_yet_is_waited_for(
    answer: Callable[[str, str], str], now: list[float], severity: str, message: str
) -> None:
    with pytest.raises(OutageError):
        Database.open(answer(severity, message), wait_seconds=100, retries=patient(now))

    assert now[0] > 80


def test_an_error_keeps_its_causes_and_shows_no_password(locked_url: sa.URL) -> None:
    database = Database.open(with_password(locked_url))
    repeat = sa.text(f"SELECT CAST('postgresql://locked:{CANARY}@host' AS int)")

    with pytest.raises(StorageError, match=r'invalid input syntax .*"postgresql://locked:\*\*\*@host"') as caught:
        database.transact(lambda connection: connection.execute(repeat))

    shown = "".join(traceback.format_exception(caught.value))
    assert "psycopg.errors.InvalidTextRepresentation" in shown
    assert "in do_execute" in shown, "where it was raised"
    assert CANARY not in shown
    database.close()


@pytest.mark.parametrize(
    "given", ["me:{}@host", "host?password={}", "host?password=x&password={}", "host?sslpassword={}"]
)
@pytest.mark.parametrize("secret", ["%3D{}%40 %27", "%3D%3D"])
def test_a_password_is_redacted_in_every_spelling(given: str, secret: str) -> None:
    url = sa.make_url(f"postgresql+psycopg://{given.format(secret)}")
    plain = unquote_plus(secret)

    line = redact(f"a driver says {plain}, {quote(plain, safe='')},\n or {quote_plus(plain)}", url)

    assert line == "a driver says ***, ***, or ***"


def test_an_error_of_the_work_itself_keeps_its_cause(database: Database) -> None:
    reason = ValueError("the reason")

    def work(_: sa.Connection) -> None:
        raise KeyError("mine") from reason

    with pytest.raises(KeyError) as caught:
        database.transact(work)

    assert caught.value.__cause__ is reason


def test_an_outage_that_was_waited_out_is_not_waited_out_again(tmp_path: Path, now: list[float]) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'study.db'}", retries=patient(now))

    def work() -> None:
        raise OutageError("it was waited for") from sa.exc.TimeoutError("no connection")

    with pytest.raises(OutageError):
        database.retry(work)

    assert now[0] == 0
    database.close()
