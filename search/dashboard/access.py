"""The door before the dashboard, as WSGI middleware: who may come in, under which name, and what may be asked there.

The dashboard behind it checks nothing itself: what is refused here must never reach it.
"""

import hmac
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from secrets import token_urlsafe
from urllib.parse import parse_qs, urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Headers = list[tuple[str, str]]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d+)?", re.ASCII)
_PATH = re.compile(r"(/[\w-][\w.-]*)*/?", re.ASCII)  # all that the dashboard has: no `..`, nothing hidden or encoded
_WHOLE_STUDY = re.compile(r"/api/studies/(\d+)(/rename)?/?", re.ASCII)
_LOOKING = ("GET", "HEAD")
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")  # none of which can hold a script, as SVG can

_GUARDS = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]
_PAGE_POLICY = "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"  # beside the dashboard's own
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
_ARTIFACT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"


@dataclass(frozen=True)
class _Answer:
    status: str
    line: str
    headers: tuple[tuple[str, str], ...] = ()


class Door:
    """WSGI middleware that answers what is not allowed itself, and passes on the rest."""

    def __init__(
        self,
        app: WSGIApplication,
        *,
        token: str,
        cookie: str,
        is_our_name: Callable[[str], bool],
        held: Callable[[int], str | None],
        home: str = "/dashboard",
        allow_edit: bool = False,
    ) -> None:
        """
        Args:
            app: the dashboard.
            token: what `/?token=` must give to be let in.
            cookie: the name of the session's cookie. Ports of a machine share their cookies, so it names the port.
            is_our_name: whether a name in a Host header is one of this server's; see `names_of`.
            held: why the study with this id may be neither deleted nor renamed now, in one line; None: it may.
            home: the page that the link leads to.
            allow_edit: whether anything may be changed. To show itself, the dashboard asks with GET alone.
        """
        self._app, self._token, self._cookie, self._allow_edit = app, token, cookie, allow_edit
        self._is_our_name, self._held, self._home = is_our_name, held, home
        self._session = token_urlsafe(32)
        self._checks = (self._check_host, _check_path, self._check_visitor, _check_origin, self._check_edit)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]  # the dashboard strips its end

        def start(status: str, headers: Headers, exc_info: object = None) -> Callable[[bytes], object]:
            return start_response(status, _guarded(path, headers), exc_info)  # type: ignore[arg-type]

        for check in self._checks:
            answer = check(environ)
            if answer is not None:
                text = f"{answer.line}\n".encode()
                length = ("Content-Length", str(len(text)))
                start(answer.status, [("Content-Type", "text/plain; charset=utf-8"), length, *answer.headers])
                return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]
        return self._app(environ, start)

    def _check_host(self, environ: WSGIEnvironment) -> _Answer | None:
        # A page elsewhere can make its own name lead here, and would then be of the same origin. The port may be
        # another one: that of an SSH tunnel.
        host = _HOST.fullmatch(environ.get("HTTP_HOST", ""))
        if host is None or not self._is_our_name(host[1].strip("[]").lower()):
            return _Answer("400 Bad Request", "the Host header names another server; open the link as it was printed")
        return None

    def _check_visitor(self, environ: WSGIEnvironment) -> _Answer | None:
        given = parse_qs(environ.get("QUERY_STRING", "")).get("token")
        if environ["PATH_INFO"] == "/" and given is not None:
            if _same(given[0], self._token):
                cookie = f"{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"
                return _Answer("303 See Other", "come in", (("Location", self._home), ("Set-Cookie", cookie)))
        elif any(_same(value, self._session) for value in _cookies(environ, self._cookie)):
            return None
        return _Answer("401 Unauthorized", "open the link that `foldrace dashboard` printed; it holds the key")

    def _check_edit(self, environ: WSGIEnvironment) -> _Answer | None:
        method = environ["REQUEST_METHOD"]
        if method in (*_LOOKING, "OPTIONS"):
            return None
        if not self._allow_edit:
            return _Answer(
                "403 Forbidden", "this dashboard is read-only; `foldrace dashboard --allow-edit` lets you edit"
            )
        study = _WHOLE_STUDY.fullmatch(environ["PATH_INFO"])
        if study is not None and (method == "DELETE" or study[2]):
            reason = self._held(int(study[1]))
            return None if reason is None else _Answer("409 Conflict", reason)
        return None


def names_of(host: str) -> Callable[[str], bool]:
    """Whether a name (lower case, an IPv6 address without brackets) is one of a server that listens on `host`."""
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return (_LOOPBACK | {host}).__contains__
    if address is not None and address.is_unspecified:
        names = _LOOPBACK | {socket.gethostname().lower()}
        return lambda name: name in names or _address(name) is not None  # an address leads nowhere else
    return frozenset({host.lower()}).__contains__


def _check_path(environ: WSGIEnvironment) -> _Answer | None:
    if _PATH.fullmatch(environ["PATH_INFO"]) is None:
        return _Answer("400 Bad Request", "the dashboard has no such path")
    return None


def _check_origin(environ: WSGIEnvironment) -> _Answer | None:
    """Only the dashboard's own pages may change something; every browser says which page asks."""
    if environ["REQUEST_METHOD"] in _LOOKING:
        return None
    origin = environ.get("HTTP_ORIGIN")
    from_here = origin is None or urlsplit(origin).netloc == environ["HTTP_HOST"]
    if not from_here or environ.get("HTTP_SEC_FETCH_SITE", "same-origin") != "same-origin":
        return _Answer("403 Forbidden", "this was asked by a page of another site")
    return None


def _guarded(path: str, headers: Headers) -> Headers:
    """The headers with those that keep a page from doing harm, or from being led to it."""
    if path.startswith("/artifacts/"):
        return _as_artifact(headers)
    if path.startswith("/static/"):
        return [*headers, *_GUARDS]
    policy = _PAGE_POLICY if path.startswith("/dashboard") else _DATA_POLICY
    return [*headers, *_GUARDS, ("Content-Security-Policy", policy), ("Cache-Control", "no-store")]


def _as_artifact(headers: Headers) -> Headers:
    """An artifact is shown when it is a picture and saved as a file when not, whatever type it claims to have."""
    given = {name.lower(): value for name, value in headers}
    kept = [(name, value) for name, value in headers if name.lower() in ("content-length", "set-cookie")]
    kept += [*_GUARDS, ("Content-Security-Policy", _ARTIFACT_POLICY), ("Cache-Control", "no-store")]
    kind = given.get("content-type", "")
    if kind in _IMAGES:
        return [("Content-Type", kind), *kept]
    return [("Content-Type", "application/octet-stream"), ("Content-Disposition", "attachment"), *kept]


def _cookies(environ: WSGIEnvironment, name: str) -> list[str]:
    pairs = (part.strip().partition("=") for part in environ.get("HTTP_COOKIE", "").split(";"))
    return [value for key, _, value in pairs if key == name]


def _same(given: str, secret: str) -> bool:
    """Equal, told in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode(), secret.encode())


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
