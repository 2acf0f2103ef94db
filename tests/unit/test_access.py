"""The access middleware before a stub of the dashboard: who is let in, what is refused, the headers of each answer."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from foldrace.search.dashboard.access import AccessMiddleware, AccessSettings, names_of

TOKEN, NAME = "a-token", "foldrace-8080"  # of the cookie, by the port
HOME = "/dashboard/studies/7"
Reply = tuple[str, dict[str, str], str]


class StubDashboard:
    """Notes the requests that reach it, and answers all of them alike."""

    def __init__(self, kind: str = "text/html") -> None:
        self.reached: list[str] = []
        self._kind = kind

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.reached.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        start_response("200 OK", [("Content-Type", self._kind), ("Access-Control-Allow-Origin", "*")])
        return [b"<script>inside</script>"]


class Client:
    """A browser that opened the link."""

    def __init__(self, dashboard: StubDashboard, **settings: Any) -> None:
        given: dict[str, Any] = {
            "is_our_name": names_of("127.0.0.1"),
            "lock_reason": lambda study_id: None,
            "home": HOME,
        }
        self._middleware = AccessMiddleware(dashboard, AccessSettings(TOKEN, "foldrace", **(given | settings)))
        self.cookie = self.ask("/", query=f"token={TOKEN}")[1]["Set-Cookie"].partition(";")[0]

    def ask(self, path: str, method: str = "GET", query: str = "", **headers: str) -> Reply:
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "HTTP_HOST": "127.0.0.1:8080"}
        environ |= {"HTTP_COOKIE": getattr(self, "cookie", "")} | headers
        started: list[Any] = []
        body = b"".join(self._middleware(environ, lambda status, sent, exc=None: started.extend((status, sent))))  # type: ignore[arg-type]
        return started[0][:3], dict(started[1]), body.decode()


@pytest.fixture
def dashboard() -> StubDashboard:
    return StubDashboard()


@pytest.fixture
def client(dashboard: StubDashboard) -> Client:
    return Client(dashboard)


def test_the_link_gives_a_cookie_and_leaves_the_token_behind(client: Client, dashboard: StubDashboard) -> None:
    status, headers, _ = client.ask("/", query=f"token={TOKEN}", HTTP_COOKIE="")
    assert (status, headers["Location"]) == ("303", HOME)
    assert headers["Set-Cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert TOKEN not in headers["Set-Cookie"]
    assert dashboard.reached == []


def test_the_cookie_lets_in_beside_cookies_of_others(client: Client, dashboard: StubDashboard) -> None:
    status, _, _ = client.ask("/dashboard", HTTP_COOKIE=f"bad[name]=x; {client.cookie}; foldrace-9=y")
    assert (status, dashboard.reached) == ("200", ["GET /dashboard"])


@pytest.mark.parametrize("path", ["/", "/dashboard", "/api/studies", "/static/bundle.js", "/artifacts/1/a", "/csv/1"])
@pytest.mark.parametrize("cookie", ["", f"{NAME}=", f"{NAME}={TOKEN}", f"{NAME}=\u00e9", "other=x"])
def test_without_the_cookie_nothing_is_seen(client: Client, dashboard: StubDashboard, path: str, cookie: str) -> None:
    status, _, body = client.ask(path, HTTP_COOKIE=cookie)
    assert (status, dashboard.reached) == ("401", [])
    assert body == "open the link that `foldrace dashboard` printed; it holds the key\n"


@pytest.mark.parametrize("query", ["token=", "token=wrong", "token=%00", "token=%C3%A9", f"token=x&token={TOKEN}"])
def test_a_wrong_token_lets_nobody_in(client: Client, query: str) -> None:
    status, headers, _ = client.ask("/", query=query, HTTP_COOKIE="")
    assert status == "401"
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "", "localhost.evil.example", "x@localhost"])
def test_a_foreign_host_is_refused_before_anything_else(client: Client, dashboard: StubDashboard, host: str) -> None:
    status, _, _ = client.ask("/dashboard", HTTP_HOST=host)
    assert (status, dashboard.reached) == ("400", [])


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8080", "LOCALHOST"])
def test_loopback_has_three_names_and_any_port(client: Client, host: str) -> None:
    assert client.ask("/", query=f"token={TOKEN}", HTTP_HOST=host, HTTP_COOKIE="")[0] == "303"


@pytest.mark.parametrize("port", [":8080", ":8081", ""])
def test_a_session_is_that_of_the_port_in_the_address(client: Client, port: str) -> None:
    host = f"localhost{port}"
    given = client.ask("/", query=f"token={TOKEN}", HTTP_HOST=host, HTTP_COOKIE="")[1]["Set-Cookie"].partition(";")[0]

    assert given.startswith(f"foldrace-{port[1:] or 80}=")
    assert client.ask("/dashboard", HTTP_HOST=host, HTTP_COOKIE=given)[0] == "200"
    assert client.ask("/dashboard", HTTP_HOST="localhost:9", HTTP_COOKIE=given)[0] == "401"


def test_a_server_on_all_addresses_knows_its_name_and_every_address() -> None:
    is_ours = names_of("0.0.0.0")
    assert all(is_ours(name) for name in (socket.gethostname().lower(), "192.0.2.7", "localhost", "2001:db8::1"))
    assert not is_ours("evil.example")


def test_a_server_on_one_name_knows_only_that() -> None:
    assert names_of("Gpu-Box")("gpu-box")
    assert not names_of("gpu-box")("localhost")


@pytest.mark.parametrize(
    "path", ["/static/../../etc/passwd", "/static/..", "//evil.example", "/static/%2e", "/a\\b", "/a\0", "/.git", "/가"]
)
def test_paths_that_the_dashboard_does_not_have_are_refused(
    client: Client, dashboard: StubDashboard, path: str
) -> None:
    assert (client.ask(path)[0], dashboard.reached) == ("400", [])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "get"])
def test_read_only_means_that_no_method_changes_anything(client: Client, dashboard: StubDashboard, method: str) -> None:
    status, _, body = client.ask("/api/studies/1", method)
    assert (status, dashboard.reached) == ("403", [])
    assert "--allow-edit" in body


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("HTTP_ORIGIN", "http://evil.example"),
        ("HTTP_ORIGIN", "http://127.0.0.1:9000"),
        ("HTTP_ORIGIN", "null"),
        ("HTTP_SEC_FETCH_SITE", "cross-site"),
        ("HTTP_SEC_FETCH_SITE", "same-site"),
    ],
)
def test_a_page_of_another_site_changes_nothing(dashboard: StubDashboard, header: str, value: str) -> None:
    status, _, _ = Client(dashboard, allow_edit=True).ask("/api/studies", "POST", **{header: value})
    assert (status, dashboard.reached) == ("403", [])


def test_the_dashboards_own_pages_may_edit_when_asked_to(dashboard: StubDashboard) -> None:
    own = {"HTTP_ORIGIN": "http://127.0.0.1:8080", "HTTP_SEC_FETCH_SITE": "same-origin"}
    assert Client(dashboard, allow_edit=True).ask("/api/studies/1/2/note", "PUT", **own)[0] == "200"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/7"),
        ("DELETE", "/api/studies/007/"),
        ("POST", "/api/studies/7/rename"),
        ("POST", "/api/studies/7/rename/"),
    ],
)
def test_a_study_that_workers_hold_stays(dashboard: StubDashboard, method: str, path: str) -> None:
    held: Callable[[int], str | None] = {7: "workers hold it"}.get
    status, _, body = Client(dashboard, allow_edit=True, lock_reason=held).ask(path, method)
    assert (status, body, dashboard.reached) == ("409", "workers hold it\n", [])
    assert Client(dashboard, allow_edit=True, lock_reason=held).ask(path.replace("7", "8"), method)[0] == "200"


def test_other_edits_do_not_ask_for_leases(dashboard: StubDashboard) -> None:
    client = Client(dashboard, allow_edit=True, lock_reason=lambda study_id: "held")
    assert client.ask("/api/studies/7/note", "PUT")[0] == "200"
    assert client.ask("/api/artifacts/7/8/ab", "DELETE")[0] == "200"


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "text/javascript", "application/xhtml+xml", "", "x/png"]
)
def test_an_artifact_that_is_no_picture_is_a_file_to_save(kind: str) -> None:
    _, headers, _ = Client(StubDashboard(kind)).ask("/artifacts/1/2/ab")
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers


def test_a_picture_is_shown_but_sandboxed() -> None:
    _, headers, _ = Client(StubDashboard("image/png")).ask("/artifacts/1/ab")
    assert headers["Content-Type"] == "image/png"
    assert "Content-Disposition" not in headers
    assert "sandbox" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/dashboard", "/api/studies", "/static/bundle.js", "/nowhere"])
@pytest.mark.parametrize("cookie", [None, ""])
def test_every_answer_keeps_strangers_from_framing_and_guessing(client: Client, path: str, cookie: str | None) -> None:
    _, headers, _ = client.ask(path, **({} if cookie is None else {"HTTP_COOKIE": cookie}))
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_refused_head_has_no_body(client: Client) -> None:
    assert client.ask("/dashboard", "HEAD", HTTP_COOKIE="")[2] == ""
