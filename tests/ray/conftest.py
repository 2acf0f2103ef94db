"""A real Ray cluster on this machine: a head without a place for workers, and nodes with one CPU each."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from tests.support.workspace_servers import open_workspace


class Nodes:
    """The nodes of a cluster, by their names."""

    def __init__(self) -> None:
        head = {"num_cpus": 0, "node_name": "head", "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: dict[str, Any] = {}

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self, name: str, gpus: int = 0) -> None:
        self._nodes[name] = self._cluster.add_node(num_cpus=1, num_gpus=gpus, node_name=name)

    def remove(self, name: str) -> None:
        """Kill all that Ray runs there."""
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)

    def lose_head(self) -> None:
        """Kill what the cluster cannot be without."""
        self._cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)

    def shutdown(self) -> None:
        self._cluster.shutdown()


class Foldrace:
    """Commands of foldrace over one workspace, with a PostgreSQL of its own."""

    def __init__(self, workspace: Path, address: str) -> None:
        self.workspace, self._address = workspace, address
        self.output = workspace / "output.txt"
        self._begun: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str) -> str:
        """What a command says that is waited for."""
        with self.begin(*arguments) as command:
            told = command.communicate(timeout=900)[0]
        return str(told)

    def run_on_ray(self, *arguments: str) -> "subprocess.Popen[str]":
        """`foldrace run demo` on the cluster."""
        return self.on_ray("run", "demo", *arguments)

    def on_ray(self, command: str, *arguments: str) -> "subprocess.Popen[str]":
        """A command whose workers are on the cluster."""
        return self.begin(command, *arguments, "--engine", "ray", "--address", self._address, output=self.output)

    def begin(self, *arguments: str, output: Path | None = None) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "foldrace", *arguments, "--workspace", str(self.workspace)]
        with nullcontext(subprocess.PIPE) if output is None else output.open("a") as stdout:
            begun = subprocess.Popen(command, stdout=stdout, stderr=subprocess.STDOUT, text=True, cwd=self.workspace)
        self._begun.append(begun)
        return begun

    def close(self) -> None:
        """End what still runs, as where a test has failed."""
        for command in self._begun:
            command.kill()
            command.wait()

    def explain(self) -> str:
        """What was printed by the run, and by its workers last."""
        logs = "".join(path.read_text()[-2000:] for path in sorted((self.workspace / "demo").glob("**/logs/*.log")))
        return self.output.read_text()[-4000:] + logs

    def log(self) -> str:
        """What all workers logged."""
        return "".join(path.read_text() for path in sorted((self.workspace / "demo/logs").glob("*.log")))


def wait_until(is_so: Callable[[], object], explain: Callable[[], str]) -> None:
    end = time.monotonic() + 600
    while not is_so():
        assert time.monotonic() < end, explain()
        time.sleep(0.5)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    started = Nodes()
    try:
        yield started
    finally:
        started.shutdown()


@pytest.fixture
def foldrace(nodes: Nodes) -> Iterator[Foldrace]:
    with open_workspace() as root, closing(Foldrace(root, nodes.address)) as commands:
        yield commands
