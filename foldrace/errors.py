"""The base of every error that a user can mend."""


class FoldraceError(Exception):
    """Something the user can mend. The message is one line: where, what was found, and what would be right.

    Attributes:
        status: the exit status of a command that it ends.
    """

    status = 2
