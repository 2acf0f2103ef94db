"""The door: who is let in, what is refused, and what goes out with every answer. The dashboard behind it is a stub."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from foldrace.search.dashboard.access import Door, names_of

TOKEN, COOKIE = "a-token", "foldrace-8080"
HOME = "/dashboard/studies/7"
Reply = tuple[str, dict[str, str], str]


class House:
    """What stands behind the door: it notes which requests came through, and answers all of them alike."""

    def __init__(self, kind: str = "text/html") -> None:
        self.reached: list[str] = []
        self._kind = kind

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.reached.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        start_response("200 OK", [("Content-Type", self._kind), ("Access-Control-Allow-Origin", "*")])
        return [b"<script>inside</script>"]


class Visitor:
    """Asks at a door, as a browser that came by the link would."""

    def __init__(self, house: House, **door: Any) -> None:
        settings: dict[str, Any] = {
            "is_our_name": names_of("127.0.0.1"),
            "held": lambda study_id: None,
            "home": HOME,
        } | door
        self._door = Door(house, token=TOKEN, cookie=COOKIE, **settings)
        self.cookie = self.ask("/", query=f"token={TOKEN}")[1]["Set-Cookie"].partition(";")[0]

    def ask(self, path: str, method: str = "GET", query: str = "", **headers: str) -> Reply:
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "HTTP_HOST": "127.0.0.1:8080"}
        environ |= {"HTTP_COOKIE": getattr(self, "cookie", "")} | headers
        started: list[Any] = []
        body = b"".join(self._door(environ, lambda status, sent, exc=None: started.extend((status, sent))))  # type: ignore[arg-type]
        return started[0][:3], dict(started[1]), body.decode()


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def visitor(house: House) -> Visitor:
    return Visitor(house)


def test_the_link_gives_a_cookie_and_leaves_the_token_behind(visitor: Visitor, house: House) -> None:
    status, headers, _ = visitor.ask("/", query=f"token={TOKEN}", HTTP_COOKIE="")
    assert (status, headers["Location"]) == ("303", HOME)
    assert headers["Set-Cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert TOKEN not in headers["Set-Cookie"]
    assert house.reached == []


def test_the_cookie_lets_in_beside_cookies_of_others(visitor: Visitor, house: House) -> None:
    status, _, _ = visitor.ask("/dashboard", HTTP_COOKIE=f"bad[name]=x; {visitor.cookie}; foldrace-9=y")
    assert (status, house.reached) == ("200", ["GET /dashboard"])


@pytest.mark.parametrize("path", ["/", "/dashboard", "/api/studies", "/static/bundle.js", "/artifacts/1/a", "/csv/1"])
@pytest.mark.parametrize("cookie", ["", f"{COOKIE}=", f"{COOKIE}={TOKEN}", f"{COOKIE}=\u00e9", "other=x"])
def test_without_the_cookie_nothing_is_seen(visitor: Visitor, house: House, path: str, cookie: str) -> None:
    status, _, body = visitor.ask(path, HTTP_COOKIE=cookie)
    assert (status, house.reached) == ("401", [])
    assert body == "open the link that `foldrace dashboard` printed; it holds the key\n"


@pytest.mark.parametrize("query", ["token=", "token=wrong", "token=%00", "token=%C3%A9", f"token=x&token={TOKEN}"])
def test_a_wrong_token_lets_nobody_in(visitor: Visitor, query: str) -> None:
    status, headers, _ = visitor.ask("/", query=query, HTTP_COOKIE="")
    assert status == "401"
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "", "localhost.evil.example", "x@localhost"])
def test_a_foreign_host_is_refused_before_anything_else(visitor: Visitor, house: House, host: str) -> None:
    status, _, _ = visitor.ask("/dashboard", HTTP_HOST=host)
    assert (status, house.reached) == ("400", [])


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8080", "LOCALHOST"])
def test_loopback_has_three_names_and_any_port(visitor: Visitor, host: str) -> None:
    assert visitor.ask("/dashboard", HTTP_HOST=host)[0] == "200"


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
def test_paths_that_the_dashboard_does_not_have_are_refused(visitor: Visitor, house: House, path: str) -> None:
    assert (visitor.ask(path)[0], house.reached) == ("400", [])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "get"])
def test_read_only_means_that_no_method_changes_anything(visitor: Visitor, house: House, method: str) -> None:
    status, _, body = visitor.ask("/api/studies/1", method)
    assert (status, house.reached) == ("403", [])
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
def test_a_page_of_another_site_changes_nothing(house: House, header: str, value: str) -> None:
    status, _, _ = Visitor(house, allow_edit=True).ask("/api/studies", "POST", **{header: value})
    assert (status, house.reached) == ("403", [])


def test_the_dashboards_own_pages_may_edit_when_asked_to(house: House) -> None:
    own = {"HTTP_ORIGIN": "http://127.0.0.1:8080", "HTTP_SEC_FETCH_SITE": "same-origin"}
    assert Visitor(house, allow_edit=True).ask("/api/studies/1/2/note", "PUT", **own)[0] == "200"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/7"),
        ("DELETE", "/api/studies/007/"),
        ("POST", "/api/studies/7/rename"),
        ("POST", "/api/studies/7/rename/"),
    ],
)
def test_a_study_that_workers_hold_stays(house: House, method: str, path: str) -> None:
    held: Callable[[int], str | None] = {7: "workers hold it"}.get
    status, _, body = Visitor(house, allow_edit=True, held=held).ask(path, method)
    assert (status, body, house.reached) == ("409", "workers hold it\n", [])
    assert Visitor(house, allow_edit=True, held=held).ask(path.replace("7", "8"), method)[0] == "200"


def test_other_edits_do_not_ask_for_leases(house: House) -> None:
    visitor = Visitor(house, allow_edit=True, held=lambda study_id: "held")
    assert visitor.ask("/api/studies/7/note", "PUT")[0] == "200"
    assert visitor.ask("/api/artifacts/7/8/ab", "DELETE")[0] == "200"


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "text/javascript", "application/xhtml+xml", "", "x/png"]
)
def test_an_artifact_that_is_no_picture_is_a_file_to_save(kind: str) -> None:
    _, headers, _ = Visitor(House(kind)).ask("/artifacts/1/2/ab")
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers


def test_a_picture_is_shown_but_sandboxed() -> None:
    _, headers, _ = Visitor(House("image/png")).ask("/artifacts/1/ab")
    assert headers["Content-Type"] == "image/png"
    assert "Content-Disposition" not in headers
    assert "sandbox" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/dashboard", "/api/studies", "/static/bundle.js", "/nowhere"])
@pytest.mark.parametrize("cookie", [None, ""])
def test_every_answer_keeps_strangers_from_framing_and_guessing(
    visitor: Visitor, path: str, cookie: str | None
) -> None:
    _, headers, _ = visitor.ask(path, **({} if cookie is None else {"HTTP_COOKIE": cookie}))
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_refused_head_has_no_body(visitor: Visitor) -> None:
    assert visitor.ask("/dashboard", "HEAD", HTTP_COOKIE="")[2] == ""
