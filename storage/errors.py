"""The errors of this room, importable without a database."""

import os

from foldrace.errors import FoldraceError


class StorageError(FoldraceError):
    """The database or the workspace cannot be used as asked."""


class OutageError(StorageError):
    """The database has not answered for as long as it was waited for; later it may."""

    status = os.EX_TEMPFAIL


class DriverError(Exception):
    """An error of a database's driver, as text without passwords. It is seen only as the cause of a StorageError."""
