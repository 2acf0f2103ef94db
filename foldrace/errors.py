"""The base of every error that a user can mend."""

import re

# The password of a URL, wherever a user wrote it, also where a path made one slash of two; and that of an option.
_OF_URL = re.compile(r"(:/{1,2}[^\s:/@]*):\S*@")
_OF_OPTION = re.compile(r"(password['\"]?\s*=\s*['\"]?)[^\s&'\",;]+", re.IGNORECASE)
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
    """A text with *** for each password in it: of a URL, or after `password=`."""
    return _OF_OPTION.sub(r"\1***", _OF_URL.sub(r"\1:***@", text))


def _shown(text: str) -> str:
    shown = hide_passwords(text[: 5 * _LONGEST])  # its time grows with the square of the length
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]} ..."
