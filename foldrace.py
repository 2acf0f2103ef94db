"""The ground under the four rooms: the version, and the error that every room's errors are."""

__version__ = "0.1.0"


class FoldraceError(Exception):
    """Something the user can mend. The message is one line: where, what was found, and what would be right.

    Attributes:
        status: the exit status of a command that it ends.
    """

    status = 2
