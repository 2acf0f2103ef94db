"""Starts and stops the server of a workspace, and says whether it runs."""

import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from foldrace.storage.address import without_password
from foldrace.storage.errors import DiskError, OutageError, StorageError
from foldrace.storage.failures import translate_errors
from foldrace.storage.server.account import refuse_unreachable, server_account
from foldrace.storage.server.backup import restore
from foldrace.storage.server.data_folder import make_data, refuse_network, refuse_special, version_of
from foldrace.storage.server.place import Address, ServerPlace
from foldrace.storage.server.programs import ProgramError, Programs, find_programs

LOOPBACK, EVERYWHERE = "127.0.0.1", "*"
_SMALL = 64 * 2**20  # bytes: a server writes its log ahead in files of 16 MB
_TRIES, _REMAINS = 10, ("shared memory", "lock file", "in use")  # what a killed server leaves for some seconds


@dataclass(frozen=True)
class ServerOptions:
    """How a server is started.

    Attributes:
        host: the name or address that it listens on, `*` for all; None: as before, at first the loopback.
        port: 0: any free one; None: as before, at first any free one.
        data: the folder of its data; None: as before, at first one in the workspace.
        backup: a file of `backup_server`, with which a new server begins.
    """

    host: str | None = None
    port: int | None = None
    data: Path | None = None
    backup: Path | None = None


@dataclass(frozen=True)
class ServerStatus:
    """How the server of a workspace stands. As text, it is one line.

    Attributes:
        state: `running`, `stopped`, or `not answering` on another machine.
        clients: connections of foldrace; None where it does not run.
        started: whether this call started it.
    """

    address: Address
    url: str
    state: str
    clients: int | None = None
    started: bool = False

    def __str__(self) -> str:
        clients = "" if self.clients is None else f", {self.clients} connections of foldrace"
        return f"{self.state} on {self.address.machine}: {self.url}{clients}; data in {self.address.data}"


def start_server(root: Path, options: ServerOptions = ServerOptions()) -> ServerStatus:
    """Start the server of the workspace `root`, which is made where there is none; one that runs is left as it is.

    Raises:
        StorageError: what is in the way: its port is in use, no programs, a network file system, another machine.
        DiskError: there is no room.
    """
    place = ServerPlace(root)
    with place.lock():
        before = place.find()
        found = None if before is None else server_status(root)
        running = found if found is not None and found.state == "running" else None
        if running is not None and options == ServerOptions():
            return running  # also on another machine, and where PostgreSQL's programs are not
        if before is not None and not before.is_here:
            _refuse_elsewhere(place, before)
        asked = _asked(place, before, options)
        account, data = server_account(), Path(asked.data)
        is_new = running is None and version_of(data) is None
        if options.backup is not None and not is_new:
            raise StorageError(f"{data}: holds a database already; a backup goes into a new one")
        programs = find_programs(version_of(data), account)
        if before is not None and running is not None:
            if replace(asked, port=options.port or before.port) != before:
                raise StorageError(f"{place.root}: its database runs with other settings; stop it first")
            return running
        if before is not None and is_new and options.backup is None:
            remedy = f"mount its disk, or give a backup with --from; {place.folder} removed, a new one begins"
            raise StorageError(f"{data}: the database of {place.root} is not there; {remedy}")
        _start(place, asked, programs)
        if options.backup is not None:
            with _undone(place, before, programs):
                restore(place.url(), options.backup, programs)
    return replace(server_status(root), started=True)


@contextmanager
def _undone(place: ServerPlace, before: Address | None, programs: Programs) -> Iterator[None]:
    """Where this fails, remove the server that was just made, and have the workspace know what it knew before."""
    try:
        yield
    except BaseException:
        data = Path(place.address().data)
        programs.run("pg_ctl", ["stop", "--pgdata", data, "--mode", "immediate", "--wait"])
        shutil.rmtree(data)
        if before is None:
            place.forget()
        else:
            place.remember(before)
        raise


def stop_server(root: Path) -> bool:
    """Stop the server of a workspace; False where it did not run. Raises StorageError."""
    place = ServerPlace(root)
    with place.lock():
        at = place.address()
        if not at.is_here:
            raise StorageError(f"{place.root}: its database is on {at.machine}; stop it there")
        data = Path(at.data)
        programs = find_programs(version_of(data), server_account())
        if not _runs(programs, data):
            return False
        programs.run("pg_ctl", ["stop", "--pgdata", data, "--mode", "fast", "--wait", "--timeout", "120"])
    return True


def server_status(root: Path) -> ServerStatus:
    """How the server of a workspace stands, by asking it. Raises StorageError where there is none."""
    place = ServerPlace(root)
    at, url = place.address(), place.url()
    try:
        return ServerStatus(at, without_password(url), "running", _clients(url))
    except OutageError:
        return ServerStatus(at, without_password(url), "stopped" if at.is_here else "not answering")


def _clients(url: sa.URL) -> int:
    """How many connections of foldrace the server has, but this one. Raises OutageError where it does not answer."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'foldrace' AND pid <> pg_backend_pid()"
    with translate_errors(url):
        engine = sa.create_engine(url, connect_args={"connect_timeout": 5, "application_name": "foldrace"})
        try:
            with engine.connect() as connection:
                return int(connection.execute(sa.text(query)).scalar_one())
        finally:
            engine.dispose()


def _refuse_elsewhere(place: ServerPlace, before: Address) -> None:
    """Raise StorageError unless a server that another machine started was stopped, and its data is here as well."""
    data, there = Path(before.data), f"{place.root}: its database is on {before.machine}, in {before.data}"
    if version_of(data) is None:
        raise StorageError(f"{there}; start it there")
    if (running := data / "postmaster.pid").exists():
        raise StorageError(f"{there}, and was not stopped; if that machine is gone for good, remove {running}")


def _asked(place: ServerPlace, before: Address | None, options: ServerOptions) -> Address:
    """The address that a server is to have: what is asked for, else what it had before."""
    data = str((options.data or place.folder / "data").absolute()) if before is None else before.data
    if options.data is not None and data != str(options.data.absolute()):
        raise StorageError(f"{place.root}: its database is in {data}; without --data, that one is started")
    listens = options.host or (LOOPBACK if before is None else before.listens)
    port = options.port if options.port is not None else (0 if before is None else before.port)
    try:
        return Address(listens, port, socket.gethostname(), data)
    except ValueError as error:
        raise StorageError(str(error)) from None


def _start(place: ServerPlace, asked: Address, programs: Programs) -> None:
    data = Path(asked.data)
    refuse_special(data)
    refuse_network(data.resolve())
    address = replace(asked, port=_free_port(asked))
    if version_of(data) is None:
        with disk_errors(data):
            make_data(data, place.make_password(), programs)
    refuse_unreachable(data, programs.account)
    settings = f"-c listen_addresses={address.listens} -c port={address.port} -c unix_socket_directories="
    with disk_errors(data):
        _start_postgres(data, settings, programs)
    place.remember(address)


def _start_postgres(data: Path, settings: str, programs: Programs) -> None:
    log = data / "server.log"
    arguments: list[str | Path] = [
        "start",
        "--pgdata",
        data,
        "--log",
        log,
        "--options",
        settings,
        "--wait",
        "--timeout",
        "100",
    ]
    for left in reversed(range(_TRIES)):
        begin = log.stat().st_size if log.exists() else 0
        try:
            programs.run("pg_ctl", arguments)
            return
        except ProgramError as error:
            reason = _reason(log, begin) or str(error)
        if left == 0 or not any(remains in reason for remains in _REMAINS):
            raise StorageError(f"{data}: the server does not start: {reason}")
        time.sleep(1.0)  # the processes of a server that was killed end by themselves


def _reason(log: Path, begin: int) -> str:
    """Why a server does not start, in the words of its log since the byte `begin`."""
    try:
        with log.open("rb") as file:
            file.seek(begin)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    telling = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return telling[0].partition(":  ")[2] if telling else ""


@contextmanager
def disk_errors(data: Path) -> Iterator[None]:
    """Say of a disk without room that it has none, whatever the server's last words were."""
    try:
        yield
    except StorageError as error:
        is_full = os.strerror(errno.ENOSPC) in str(error) or shutil.disk_usage(_existing(data)).free < _SMALL
        if not is_full or isinstance(error, DiskError):
            raise
        raise DiskError(f"{data}: no room left on its disk for the database; {error}") from None


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _runs(programs: Programs, data: Path) -> bool:
    """Whether the server with these data runs on this machine."""
    try:
        programs.run("pg_ctl", ["status", "--pgdata", data])
    except ProgramError:
        return False
    return True


def _free_port(asked: Address) -> int:
    """The port that is asked for, or any free one. Raises StorageError where another program has it."""
    try:
        with socket.create_server(("" if asked.listens == EVERYWHERE else asked.listens, asked.port)) as listening:
            return int(listening.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            told = "--port 0 takes a free one, which workers at work do not know"
            raise StorageError(f"port {asked.port} of {asked.listens} is in use by another program; {told}") from None
        raise StorageError(f"{asked.listens}: this machine cannot listen there: {error.strerror}") from None
