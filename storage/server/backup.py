"""A copy of a server's database in one file, also while workers use it; and a new server that begins with one."""

from pathlib import Path

import sqlalchemy as sa

from foldrace.storage.errors import StorageError
from foldrace.storage.files.atomic import new_file
from foldrace.storage.server.data_folder import version_of
from foldrace.storage.server.place import ServerPlace
from foldrace.storage.server.programs import ProgramError, Programs, find_programs


def backup_server(root: Path, file: Path) -> Path:
    """Write all that the server of a workspace holds at this moment into a file, whole or not at all.

    Raises:
        StorageError: it does not run, or the file cannot be written.
    """
    place = ServerPlace(root)
    at, url = place.address(), place.url()
    programs = find_programs(version_of(Path(at.data)) if at.is_here else None)
    with new_file(file.absolute()) as partial:
        try:
            programs.run("pg_dump", ["--format", "custom", "--file", partial, *_server(url)], **_password(url))
        except ProgramError as error:
            raise StorageError(f"{file}: not written: {error}") from None
    return file


def restore(url: sa.URL, file: Path, programs: Programs) -> None:
    """Fill an empty database from a file that `backup_server` wrote, all of it or nothing. Raises StorageError."""
    ours = Programs(programs.folder, programs.version)  # the file may be for its owner alone
    asked: list[str | Path] = ["--single-transaction", "--exit-on-error", "--no-owner", *_server(url), file.absolute()]
    try:
        ours.run("pg_restore", asked, **_password(url))
    except ProgramError as error:
        raise StorageError(f"{file}: cannot be restored: {error}") from None


def _server(url: sa.URL) -> list[str]:
    where = {"host": url.host, "port": url.port, "username": url.username, "dbname": url.database}
    return [f"--{key}={value}" for key, value in where.items()]


def _password(url: sa.URL) -> dict[str, str]:
    """The password, in the environment: other users of the machine cannot read it there."""
    return {"PGPASSWORD": str(url.password)}
