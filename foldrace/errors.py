"""The base of every error that a user can mend, and how what was found is shown: cut, and without passwords."""

import logging
import re
from collections.abc import Iterable
from difflib import get_close_matches
from reprlib import Repr

_HIDDEN = "***"
_NAMES = r"(?:password|client_secret|scram_client_key|scram_server_key)"  # libpq's options that are secret
_PORT = r"(?!\d{1,5}(?:[/\s'\"]|$))"  # stands where a password might
_IN_URLS = (
    # The password of a URL, also where a path made one slash of two: up to the last @; with spaces, up to the first.
    (re.compile(rf"(:/{{1,2}}[^\s:/@]*):{_PORT}\S*@"), rf"\1:{_HIDDEN}@"),
    (re.compile(rf"(:/{{1,2}}[^\s:/@]+):{_PORT}[^\n@;'\"]*@"), rf"\1:{_HIDDEN}@"),
    (re.compile(rf"(:/{{1,2}}[^\s:/]*@[^\s:/@]*):{_PORT}\S*@"), rf"\1:{_HIDDEN}@"),  # of a user who has an @
)
_ELSEWHERE = (
    (re.compile(rf"(?<![\w.+/:-])([\w.+-]{{1,99}}):{_PORT}[^\s/\\]+@"), rf"\1:{_HIDDEN}@"),  # a URL without its scheme
    (re.compile(r"(https?:/{1,2})[^\s/@]+@"), rf"\1{_HIDDEN}@"),  # a token
    # That of an option, and of a key of a table.
    (re.compile(rf"({_NAMES}\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (re.compile(rf"({_NAMES}['\"]\s*[:=]\s*)(?:'(?:[^'\\]|\\.)*'|[^\s,}}]+)", re.IGNORECASE), rf"\1{_HIDDEN}"),
)
_LONGEST = 4000  # characters of a message; who wrote a longer value knows it


class FoldraceError(Exception):
    """Something the user can mend. The message is one line: where, what was found, and what would be right.

    No password is in it, whatever was found.

    Attributes:
        status: the exit status of a command that it ends.
    """

    status = 2

    def __init__(self, *told: object) -> None:
        super().__init__(*(_shown(one) if isinstance(one, str) else one for one in told))


def hide_passwords(text: str) -> str:
    """A text with *** for each password in it: of a URL, or of an option such as `password=`."""
    for place, hidden in _IN_URLS + _ELSEWHERE:
        text = place.sub(hidden, text)
    return text


def has_url_with_password(text: str) -> bool:
    """Whether a URL in a text has a password, as that of a database may."""
    return any(place.search(text) for place, _ in _IN_URLS)


def in_one_line(error: BaseException) -> str:
    """An error of a library as its kind and at most 300 characters of what it says, without passwords."""
    text = " ".join(hide_passwords(str(error)).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


class Shown(Repr):
    """Shows values in messages: cut where they are long, and without passwords, which are hidden before that."""

    def repr_str(self, x: str, level: int) -> str:
        """A string in quotes."""
        return super().repr_str(hide_passwords(x), level)


short_repr = Shown().repr


class LogFormatter(logging.Formatter):
    """Writes a line of a log without passwords, whoever logs it, with tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return hide_passwords(super().format(record))


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """` did you mean NAME?`, of the known name that is nearly the one that was found; empty where none is."""
    names = list(known)
    parts = [name for name in names if name in found.split("_")]  # `dropout` of `dropout_rate`
    near = parts or get_close_matches(found[:_LONGEST], names, 1)
    return "".join(f" did you mean {name}?" for name in near[:1])


def printable(text: str) -> str:
    """A text whose line ends and control characters, which a terminal would obey, are spelt as in Python."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _shown(text: str) -> str:
    shown = printable(hide_passwords(text[: 5 * _LONGEST]))  # its time grows with the square of the length
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]} ..."
