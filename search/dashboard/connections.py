"""How requests come in: a slow client locks nobody out, and what is refused is refused before its body is taken in."""

from collections.abc import Callable
from typing import Any
from wsgiref.types import WSGIEnvironment

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import RequestEntityTooLarge

# `create_server` takes these: a request, with its body, has to be whole in so many seconds.
LIMITS: dict[str, Any] = {
    "channel_timeout": 15,
    "cleanup_interval": 5,
    "connection_limit": 500,
    "max_request_header_size": 32 * 2**10,
    "max_request_body_size": 64 * 2**20,  # of an artifact
    "asyncore_use_poll": True,  # `select` knows no more than 1024 files
}
_LARGEST_EDIT = 2**20  # bytes; of a note, say
_ARTIFACTS = "/api/artifacts/"


def channel_class(takes_body: Callable[[WSGIEnvironment], bool]) -> type[HTTPChannel]:
    """The class of a server's connections.

    Args:
        takes_body: whether a request with these headers may have a body. The body of another one is never read, and
            its connection is closed behind the answer.
    """

    class Parser(HTTPRequestParser):  # type: ignore[misc]
        def parse_header(self, header_plus: bytes) -> None:
            try:
                super().parse_header(header_plus)
            except ValueError as error:  # a length of thousands of digits
                raise ParsingError(f"a header that cannot be read: {error}") from None
            if not (self.chunked or self.content_length):
                return
            if not takes_body(_environ(self)):
                self._forget_body()
            elif not self.path.startswith(_ARTIFACTS) and (self.chunked or self.content_length > _LARGEST_EDIT):
                self._forget_body()
                self.error = RequestEntityTooLarge(f"an edit has at most {_LARGEST_EDIT} bytes")

        def _forget_body(self) -> None:
            self.chunked, self.content_length, self.body_rcv = False, 0, None
            self.expect_continue = False
            self.headers.pop("CONTENT_LENGTH", None)
            self.headers["CONNECTION"] = "close"  # or the body would be taken for the next request

    class Channel(HTTPChannel):  # type: ignore[misc]
        parser_class = Parser

        def handle_read(self) -> None:
            begun, under_way = self.last_activity, self.request  # type: ignore[has-type]
            super().handle_read()
            if under_way is not None and self.request is under_way:
                self.last_activity = begun  # a byte now and then is no activity

    return Channel


def _environ(request: HTTPRequestParser) -> WSGIEnvironment:
    """What `access` reads of a request."""
    named = {"REQUEST_METHOD": request.command.upper(), "PATH_INFO": request.path, "QUERY_STRING": request.query}
    return named | {f"HTTP_{name}": value for name, value in request.headers.items()}
