"""A workspace's own PostgreSQL server: made once, found through the workspace, its password shown to nobody."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from foldrace.search.api import inspect
from foldrace.search.cli.main import app
from foldrace.search.monitor.run_list import read_runs, read_studies
from foldrace.search.session import open_session
from foldrace.storage.errors import DiskError, OutageError, StorageError
from foldrace.storage.server import lifecycle
from foldrace.storage.server.account import server_account
from foldrace.storage.server.data_folder import refuse_network
from foldrace.storage.server.lifecycle import ServerOptions, server_status, start_server, stop_server
from foldrace.storage.server.place import ServerPlace
from foldrace.storage.server.programs import ProgramError, find_programs
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import load
from tests.support.workspace_servers import open_workspace, postmaster

START = (
    "import sys; from foldrace.search.cli.main import main; sys.argv[1:] = ['database', 'start', *sys.argv[1:]]; main()"
)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A workspace whose server was started by two processes at the same moment."""
    with open_workspace() as folder:
        command = [sys.executable, "-c", START, "--workspace", str(folder)]
        with ThreadPoolExecutor(2) as pool:
            told = [done.stdout for done in pool.map(lambda _: _output(command), range(2))]
        assert sorted(line.partition(":")[0] for line in told) == ["started", "there already"]
        yield folder


def _output(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True)


def said(*arguments: str) -> str:
    """What `foldrace database ARGUMENTS` prints."""
    return CliRunner().invoke(app, ["database", *arguments], catch_exceptions=False).output


def test_the_password_is_in_a_file_for_its_owner_and_in_no_message_and_no_process_list(root: Path) -> None:
    url = ServerPlace(root).url()
    password = str(url.password)
    file = root / ".database/password"
    running = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    log = (root / ".database/data/server.log").read_text(encoding="utf-8")

    assert file.stat().st_mode & 0o777 == 0o600
    assert str(root) in running
    assert password not in running + log + said("status", "--workspace", str(root))
    assert said("url", "--workspace", str(root)).strip() == url.render_as_string(hide_password=False)


def test_who_has_no_password_is_refused_and_only_this_machine_is_listened_to(root: Path) -> None:
    url = ServerPlace(root).url()
    for wrong in (None, "wrong"):
        with pytest.raises(sa.exc.OperationalError, match="password"):
            sa.create_engine(url._replace(password=wrong)).connect()
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SHOW listen_addresses")).scalar() == "127.0.0.1"
        scrambled = connection.execute(sa.text("SELECT rolpassword FROM pg_authid WHERE rolname = 'foldrace'")).scalar()
    assert str(scrambled).startswith("SCRAM-SHA-256$")


def test_a_backup_fills_a_new_server_and_no_other(root: Path) -> None:
    study = load("demo", ["search.storage=workspace"])
    with open_session(study, root) as session:
        session.database.transact(lambda c: c.execute(sa.text("CREATE TABLE kept AS SELECT 42 AS answer")))
    copy = root / "backup"

    assert said("backup", str(copy), "--workspace", str(root)) == f"written: {copy}\n"
    broken = root / "broken"
    broken.write_bytes(copy.read_bytes()[:-200])
    with pytest.raises(StorageError, match="holds a database already"):  # it runs
        start_server(root, ServerOptions(backup=copy))
    with open_workspace() as other:
        with pytest.raises(StorageError, match="broken: cannot be restored"):
            start_server(other, ServerOptions(backup=broken))
        assert sorted(path.name for path in other.glob(".database/*")) == ["lock", "password"]
        start_server(other, ServerOptions(backup=copy))
        with open_session(study, other) as session:
            assert session.database.read(lambda c: c.execute(sa.text("SELECT answer FROM kept")).scalar()) == 42
    stop_server(root)
    with pytest.raises(StorageError, match="holds a database already"):
        start_server(root, ServerOptions(backup=copy))


def test_a_server_that_was_killed_or_stopped_starts_again_at_its_port(root: Path) -> None:
    start_server(root)
    port = ServerPlace(root).address().port
    os.kill(postmaster(root), signal.SIGKILL)

    assert start_server(root).started
    assert stop_server(root)
    assert not stop_server(root)
    assert server_status(root).state == "stopped"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(StorageError, match=f"port {port} .* is in use"):
        start_server(root)
    assert start_server(root).address.port == port
    with pytest.raises(StorageError, match="runs with other settings; stop it first"):
        start_server(root, ServerOptions(host="*"))


def test_a_server_that_is_stopped_is_told_with_what_starts_it(root: Path) -> None:
    start_server(root)
    stop_server(root)
    study, told = load("demo", ["search.storage=workspace"]), []
    Workspace(root, "demo").folder.mkdir()
    Workspace(root, "demo").study_file.write_text(study.to_toml(), encoding="utf-8")
    (run,) = read_runs(root)
    for ask in (lambda: inspect.status(study, workspace=root), lambda: read_studies("workspace", root)):
        with pytest.raises(OutageError) as caught:
            ask()
        told.append(str(caught.value))
    cure = f"`foldrace database start --workspace {root}` starts the workspace's database, which does not answer: "
    assert all(one.startswith(cure) for one in (*told, run.error))
    start_server(root)


def test_another_machine_starts_it_only_where_it_was_stopped(root: Path) -> None:
    start_server(root)
    place, here = ServerPlace(root), ServerPlace(root).address()
    place.remember(replace(here, machine="elsewhere"))

    assert not start_server(root).started  # it answers, so no program is needed here
    os.kill(postmaster(root), signal.SIGKILL)
    place.remember(replace(here, port=1, machine="elsewhere"))
    with pytest.raises(StorageError, match=r"on elsewhere, .* and was not stopped; if that machine is gone"):
        start_server(root)
    place.remember(replace(here, port=1, data="/nowhere/data"))
    with pytest.raises(StorageError, match=r"/nowhere/data: the database of .* is not there; mount its disk"):
        start_server(root)
    assert not Path("/nowhere").exists()
    place.remember(replace(here, port=1, machine="elsewhere", data="/nowhere/data"))
    with pytest.raises(StorageError, match="is on elsewhere, in /nowhere/data; start it there"):
        start_server(root)
    place.remember(here)


def test_what_is_in_the_way_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="no database of its own there yet; `foldrace database start"):
        server_status(tmp_path)
    with open_workspace() as folder, socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(StorageError, match="is in use by another program; --port 0"):
            start_server(folder, ServerOptions(port=taken.getsockname()[1]))
        with pytest.raises(StorageError, match="this machine cannot listen there"):
            start_server(folder, ServerOptions(host="192.0.2.1"))
        assert [path.name for path in folder.glob(".database/*")] == ["lock"]
    mounts = tmp_path / "mounts"
    mounts.write_text("root / ext4 rw 0 0\nserver:/x /shared nfs4 rw 0 0\n")
    refuse_network(tmp_path, mounts)
    with pytest.raises(StorageError, match=r"/shared/runs: on a network file system \(nfs4\).*--data"):
        refuse_network(Path("/shared/runs"), mounts)
    with pytest.raises(StorageError, match=r"no programs of PostgreSQL 3, which made the data: only version \d+ in"):
        find_programs(3)
    with pytest.raises(DiskError, match="no room left on its disk"), lifecycle.disk_errors(tmp_path / "data"):
        raise ProgramError("initdb: could not write to file: No space left on device")


def test_a_folder_that_is_closed_to_the_account_of_roots_server_is_named() -> None:
    with open_workspace() as folder:
        (folder / "closed").mkdir(mode=0o700)
        if os.geteuid() != 0:  # the server runs as ourselves, who may enter
            assert server_account() is None
            return
        with pytest.raises(StorageError, match=r"closed: closed to the account pgserver.*chmod o\+x"):
            start_server(folder / "closed/runs")
