"""The error of this room, importable without a database."""

from foldrace import FoldraceError


class StorageError(FoldraceError):
    """The database or the workspace cannot be used as asked."""
