"""Makes the folder of a server's data, which appears under its name whole or not at all."""

import os
import shutil
from pathlib import Path

from foldrace.storage.address import MOUNTS, network_file_system
from foldrace.storage.errors import StorageError, as_storage_error
from foldrace.storage.server.account import refuse_unreachable
from foldrace.storage.server.place import USER
from foldrace.storage.server.programs import ProgramError, Programs

_CONNECTIONS = 200  # a worker holds one while it claims or reports, and none while it trains
# Every connection has to give the password, from this machine or another one; there is no socket file.
_ACCESS = "host all all all scram-sha-256\n"


def refuse_network(place: Path, mounts: Path = MOUNTS) -> None:
    """Raise StorageError where a folder is on a network file system: two machines might start servers on it."""
    kind = network_file_system(place, mounts)
    if kind:
        what = "where PostgreSQL's data is not safe"
        raise StorageError(f"{place}: on a network file system ({kind}), {what}; --data names a folder on a local disk")


def refuse_special(data: Path) -> None:
    """Raise StorageError for a path that `pg_ctl`, which hands it to a shell in quotes, would not take as it is."""
    if not str(data).isprintable() or any(one in str(data) for one in '"$`\\'):
        raise StorageError(f'{data}: PostgreSQL takes no path with " $ ` \\ or a line end; --data names another folder')


def version_of(data: Path) -> int | None:
    """The major version of PostgreSQL that made the data; None where there is none."""
    try:
        return int((data / "PG_VERSION").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise StorageError(f"{data}: cannot be read as the data of a PostgreSQL server") from None


def make_data(data: Path, password: Path, programs: Programs) -> None:
    """Make the data of a new server, with one role that has the password in the file `password`.

    Raises:
        StorageError: there is no room, or a folder is closed to the server's account.
    """
    partial, told = data.with_name(f"{data.name}.partial"), data.with_name("password.partial")
    with as_storage_error(data):
        shutil.rmtree(partial, ignore_errors=True)
        told.unlink(missing_ok=True)
        data.parent.mkdir(parents=True, exist_ok=True)
        refuse_unreachable(data.parent, programs.account)
        partial.mkdir(mode=0o700)
        try:
            told.touch(mode=0o600, exist_ok=False)  # never through a link
            told.write_text(password.read_text(encoding="utf-8"), encoding="utf-8")
            for path in (partial, told):
                _give(path, programs)
            _initialise(partial, told, programs)
            partial.rename(data)
        except ProgramError as error:
            raise StorageError(f"{data}: cannot be made: {error}") from None
        finally:
            told.unlink(missing_ok=True)
            shutil.rmtree(partial, ignore_errors=True)


def _give(path: Path, programs: Programs) -> None:
    if programs.account is not None:
        os.chown(path, programs.account.pw_uid, programs.account.pw_gid)


def _initialise(folder: Path, password: Path, programs: Programs) -> None:
    roles: list[str | Path] = ["--username", USER, "--pwfile", password, "--auth", "scram-sha-256"]
    programs.run("initdb", ["--pgdata", folder, *roles, "--encoding", "UTF8", "--locale", "C"])
    (folder / "pg_hba.conf").write_text(_ACCESS, encoding="utf-8")
    with (folder / "postgresql.conf").open("a", encoding="utf-8") as settings:
        settings.write(f"\nmax_connections = {_CONNECTIONS}\npassword_encryption = 'scram-sha-256'\n")
