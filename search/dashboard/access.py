"""WSGI middleware that guards the dashboard: it checks the server's name, the path, the session, the origin, the edit.

The dashboard checks nothing itself. A request that is refused here never reaches it.
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
_PATH = re.compile(r"(/[\w-][\w.-]*)*/?", re.ASCII)  # every path of the dashboard: no `..`, nothing hidden or encoded
_WHOLE_STUDY = re.compile(r"/api/studies/0*(\d{1,18})(/rename)?/?", re.ASCII)
_SAFE_METHODS = ("GET", "HEAD")
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")  # formats without scripts; SVG may hold one

_SECURITY_HEADERS = [
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


@dataclass(frozen=True)
class AccessSettings:
    """Who may do what in the dashboard.

    Attributes:
        token: `/?token=` with it starts a session.
        cookie: the name of the session's cookie begins so. The ports of a machine share their cookies, so it ends with
            the port that the browser asks: behind an SSH tunnel it is another one than the server's.
        is_our_name: whether a name in a Host header is one of this server's; see `names_of`.
        lock_reason: why the study with this id may be neither deleted nor renamed now, in one line; None: it may.
        home: the page that the link opens.
        allow_edit: whether requests may change something. The dashboard's own pages only need GET to be shown.
    """

    token: str
    cookie: str
    is_our_name: Callable[[str], bool]
    lock_reason: Callable[[int], str | None]
    home: str = "/dashboard"
    allow_edit: bool = False


class AccessMiddleware:
    """WSGI middleware that answers what is not allowed itself, and passes on the rest."""

    def __init__(self, app: WSGIApplication, settings: AccessSettings) -> None:
        self._app, self._settings = app, settings
        self._session = token_urlsafe(32)
        self._checks = (self._check_host, _check_path, self._check_session, _check_origin, self._check_right)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]  # read now: the dashboard strips its end

        def start(status: str, headers: Headers, exc_info: object = None) -> Callable[[bytes], object]:
            return start_response(status, _with_security_headers(path, headers), exc_info)  # type: ignore[arg-type]

        for check in (*self._checks, self._check_lock):
            answer = check(environ)
            if answer is not None:
                text = f"{answer.line}\n".encode()
                length = ("Content-Length", str(len(text)))
                start(answer.status, [("Content-Type", "text/plain; charset=utf-8"), length, *answer.headers])
                return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]
        return self._app(environ, start)

    def takes_body(self, environ: WSGIEnvironment) -> bool:
        """Whether a request may have a body: it changes something, and its headers are in order."""
        return environ["REQUEST_METHOD"] not in _SAFE_METHODS and not any(check(environ) for check in self._checks)

    def _check_host(self, environ: WSGIEnvironment) -> _Answer | None:
        # A foreign page could let its own name resolve to this machine, and would then be of the same origin. The port
        # is not compared: behind an SSH tunnel it is another one.
        host = _HOST.fullmatch(environ.get("HTTP_HOST", ""))
        if host is None or not self._settings.is_our_name(host[1].strip("[]").lower()):
            return _Answer("400 Bad Request", "the Host header names another server; open the link as it was printed")
        return None

    def _check_session(self, environ: WSGIEnvironment) -> _Answer | None:
        given = parse_qs(environ.get("QUERY_STRING", "")).get("token")
        if environ["PATH_INFO"] == "/" and given is not None:
            if _same(given[0], self._settings.token):
                cookie = f"{self._cookie(environ)}={self._session}; Path=/; HttpOnly; SameSite=Strict"
                return _Answer("303 See Other", "come in", (("Location", self._settings.home), ("Set-Cookie", cookie)))
        elif any(_same(value, self._session) for value in _cookies(environ, self._cookie(environ))):
            return None
        return _Answer("401 Unauthorized", "open the link that `foldrace dashboard` printed; it holds the key")

    def _cookie(self, environ: WSGIEnvironment) -> str:
        host = _HOST.fullmatch(environ["HTTP_HOST"])
        return f"{self._settings.cookie}-{host[2][1:] if host and host[2] else 80}"

    def _check_right(self, environ: WSGIEnvironment) -> _Answer | None:
        if self._settings.allow_edit or environ["REQUEST_METHOD"] in (*_SAFE_METHODS, "OPTIONS"):
            return None
        return _Answer("403 Forbidden", "this dashboard is read-only; `foldrace dashboard --allow-edit` lets you edit")

    def _check_lock(self, environ: WSGIEnvironment) -> _Answer | None:
        method = environ["REQUEST_METHOD"]
        study = _WHOLE_STUDY.fullmatch(environ["PATH_INFO"])
        if study is not None and (method == "DELETE" or (study[2] and method not in (*_SAFE_METHODS, "OPTIONS"))):
            reason = self._settings.lock_reason(int(study[1]))
            return None if reason is None else _Answer("409 Conflict", reason)
        return None


def names_of(host: str) -> Callable[[str], bool]:
    """A predicate: is this name one of a server that listens on `host`? Names are lower case, IPv6 without brackets."""
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return (_LOOPBACK | {host}).__contains__
    if address is not None and address.is_unspecified:
        names = _LOOPBACK | {socket.gethostname().lower()}
        return lambda name: name in names or _address(name) is not None  # no other server has an address of this one
    return frozenset({host.lower()}).__contains__


def _check_path(environ: WSGIEnvironment) -> _Answer | None:
    if _PATH.fullmatch(environ["PATH_INFO"]) is None:
        return _Answer("400 Bad Request", "the dashboard has no such path")
    return None


def _check_origin(environ: WSGIEnvironment) -> _Answer | None:
    """Refuse a change that a page of another site asks for; browsers name the page in Origin and Sec-Fetch-Site."""
    if environ["REQUEST_METHOD"] in _SAFE_METHODS:
        return None
    origin = environ.get("HTTP_ORIGIN")
    from_here = origin is None or urlsplit(origin).netloc == environ["HTTP_HOST"]
    if not from_here or environ.get("HTTP_SEC_FETCH_SITE", "same-origin") != "same-origin":
        return _Answer("403 Forbidden", "this was asked by a page of another site")
    return None


def _with_security_headers(path: str, headers: Headers) -> Headers:
    """The headers of an answer, with those that forbid foreign scripts, frames and caches."""
    if path.startswith("/artifacts/"):
        return _as_artifact(headers)
    if path.startswith("/static/"):
        return [*headers, *_SECURITY_HEADERS]
    policy = _PAGE_POLICY if path.startswith("/dashboard") else _DATA_POLICY
    return [*headers, *_SECURITY_HEADERS, ("Content-Security-Policy", policy), ("Cache-Control", "no-store")]


def _as_artifact(headers: Headers) -> Headers:
    """The headers of an artifact: an image is shown, everything else is saved as a file, whatever type it claims."""
    given = {name.lower(): value for name, value in headers}
    kept = [(name, value) for name, value in headers if name.lower() in ("content-length", "set-cookie")]
    kept += [*_SECURITY_HEADERS, ("Content-Security-Policy", _ARTIFACT_POLICY), ("Cache-Control", "no-store")]
    kind = given.get("content-type", "")
    if kind in _IMAGES:
        return [("Content-Type", kind), *kept]
    return [("Content-Type", "application/octet-stream"), ("Content-Disposition", "attachment"), *kept]


def _cookies(environ: WSGIEnvironment, name: str) -> list[str]:
    pairs = (part.strip().partition("=") for part in environ.get("HTTP_COOKIE", "").split(";"))
    return [value for key, _, value in pairs if key == name]


def _same(given: str, secret: str) -> bool:
    """Whether both are equal; the time does not depend on where they differ."""
    return hmac.compare_digest(given.encode(), secret.encode())


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
