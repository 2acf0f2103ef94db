"""A worker on another machine, which a network namespace is: it needs the password, and its link is cut."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from foldrace.search.monitor.status_reader import read_status
from foldrace.search.session import open_session
from foldrace.storage.server.lifecycle import ServerOptions, start_server
from foldrace.storage.server.place import ServerPlace
from foldrace.storage.wait_watch import WAITING
from foldrace.studies.loading import STORAGE_VARIABLE, load
from tests.slurm.conftest import wait_until
from tests.support.commands import SMALL_RUN

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

HERE, THERE = "10.231.77.1", "10.231.77.2"
CUT_SECONDS = 60.0
SETTINGS = (
    "--set",
    "search.trials=1",
    "--set",
    "search.checkpoint_minutes=0.001",
    *SMALL_RUN[2:],
    "--set",
    "training.epochs=20",
)


@dataclass(frozen=True)
class Machine:
    """A network namespace with one link to this one."""

    name: str

    @property
    def link(self) -> str:
        return f"{self.name}-0"

    def worker(self, workspace: Path, told: Path, **environment: str) -> "subprocess.Popen[bytes]":
        command = ["ip", "netns", "exec", self.name, sys.executable, "-m", "foldrace", "worker", "demo", *SETTINGS]
        given = {key: value for key, value in os.environ.items() if key != STORAGE_VARIABLE} | environment
        with told.open("wb") as file:
            return subprocess.Popen([*command, "--workspace", str(workspace)], env=given, stdout=file, stderr=file)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@pytest.fixture
def other() -> Iterator[Machine]:
    machine = Machine(f"fr{os.getpid()}")
    ip("netns", "add", machine.name)
    try:
        ip("link", "add", machine.link, "type", "veth", "peer", "name", "eth0", "netns", machine.name)
        ip("addr", "add", f"{HERE}/30", "dev", machine.link)
        ip("link", "set", machine.link, "up")
        for setting in (["addr", "add", f"{THERE}/30", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            ip("-n", machine.name, *setting)
        yield machine
    finally:
        ip("netns", "del", machine.name)  # and the link with it


def test_a_worker_on_another_machine_needs_the_password_and_survives_a_link_that_is_cut(
    other: Machine, workspace: Path
) -> None:
    start_server(workspace, ServerOptions(host=HERE))
    url, told = ServerPlace(workspace).url(), workspace / "told"
    without = url._replace(password=None).render_as_string()
    refused = other.worker(workspace, told, HOME=str(workspace), **{STORAGE_VARIABLE: without})
    assert refused.wait(120) == 2
    assert told.read_text().splitlines()[-1].endswith("no password supplied; put it into PGPASSWORD or ~/.pgpass")

    worker = other.worker(workspace, told, **{STORAGE_VARIABLE: "workspace"})
    wait_until(lambda: any(workspace.glob("demo/trial-*/fold-*/attempt-*/checkpoint-*")), told.read_text, 200)
    ip("link", "set", other.link, "down")
    time.sleep(CUT_SECONDS)
    assert worker.poll() is None
    assert WAITING in told.read_text()
    ip("link", "set", other.link, "up")

    assert worker.wait(300) == 0, told.read_text()
    with open_session(load("demo", ["search.storage=workspace"]), workspace) as session:
        status = read_status(session.database, "demo")
    assert (status.trials, status.failures) == ({"COMPLETE": 1}, ())
    assert "attempt 2" not in told.read_text()
