"""The nodes of a Ray cluster: what they have for workers, and whether they see what workers need."""

import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Literal

from foldrace.search.cluster.ray.connection import RayError
from foldrace.search.words import counted
from foldrace.storage.address import parse

VERSION = installed_version("foldrace")
Resource = Literal["GPU", "CPU"]
_LOOK_SECONDS = 120.0  # a node that is new to this study unpacks first what travels, and starts a Python


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        name: as `ray start --node-name` has it, or else that of its machine.
        machine: its host name; several nodes may be on one.
        amounts: what it has, by resource.
    """

    id: str
    name: str
    machine: str
    amounts: dict[str, float]


def read_nodes() -> list[Node]:
    """The nodes that live, by name."""
    import ray

    return sorted((node_of(row) for row in ray.nodes() if row["Alive"]), key=lambda node: (node.name, node.id))


def node_of(row: dict[str, Any]) -> Node:
    """A node, as Ray describes it."""
    machine, given = row["NodeManagerHostname"], row.get("NodeName", "")
    name = machine if given in ("", row["NodeManagerAddress"]) else given
    return Node(row["NodeID"], re.sub(r"[^\w.-]", "-", name)[:60], machine, row["Resources"])


def choose_resource(nodes: Sequence[Node], devices: str) -> Resource:
    """What each worker takes: a GPU; where the cluster has none, or by `--devices cpu`, a CPU.

    Raises:
        RayError: no node has one; or GPUs are named, which the cluster chooses.
    """
    if devices not in ("auto", "cpu"):
        raise RayError(
            f"--devices {devices}: with --engine ray the cluster chooses the GPUs; leave it out, or take cpu"
        )
    has_gpus = devices == "auto" and any(node.amounts.get("GPU") for node in nodes)
    resource: Resource = "GPU" if has_gpus else "CPU"
    if not any(node.amounts.get(resource) for node in nodes):
        raise RayError(f"no node of the cluster has a {resource}: {', '.join(node.name for node in nodes)}")
    return resource


def describe(nodes: Sequence[Node], resource: Resource, per_device: int) -> str:
    """The nodes that workers may be on, and for how many they have room, in words."""
    places = int(sum(node.amounts[resource] for node in nodes) * per_device)
    takes = f"a {resource} each" if per_device == 1 else f"{per_device} share a {resource}"
    has_gpus = any(node.amounts.get("GPU") for node in nodes)
    why = "" if has_gpus else ", as no node has a GPU"
    return f"{counted(places, 'place')} on {counted(len(nodes), 'node')}: {takes}{why}"


def count_threads(nodes: Sequence[Node], resource: Resource, share: float) -> int:
    """The threads of each worker, the same on all nodes, so that a fold gives the same sums wherever it goes on.

    Args:
        share: of the resource, that a worker takes.
    """
    cores = [
        node.amounts.get("CPU", 1) * share / node.amounts[resource] for node in nodes if node.amounts.get(resource)
    ]
    return max(1, int(min(cores)))


def refuse_file(url: str, nodes: Sequence[Node], here: str | None = None) -> None:
    """Raise RayError where several nodes, or one on another machine than this, would share an SQLite file."""
    if parse(url).drivername != "sqlite":
        return
    others = [node.name for node in nodes if node.machine != (here or socket.gethostname())]
    if len(nodes) > 1 or others:
        found = f"SQLite cannot be shared by the nodes of a cluster ({', '.join(node.name for node in nodes)})"
        raise RayError(f'{found}; write search.storage = "workspace", or the URL of a PostgreSQL server')


def refuse_blind(nodes: Sequence[Node], paths: Sequence[Path]) -> None:
    """Ask each node whether it can run workers.

    Raises:
        RayError: one does not see a path, has another foldrace or none, or does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        asked[node.name] = (
            ray.remote(look).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(paths, VERSION)
        )
    end = time.monotonic() + _LOOK_SECONDS
    for name, answer in asked.items():
        try:
            found = ray.get(answer, timeout=max(end - time.monotonic(), 0))
        except ray.exceptions.GetTimeoutError:
            raise RayError(f"node {name} does not answer within {_LOOK_SECONDS:g} s") from None
        except ray.exceptions.RayError as error:
            told = str(error).strip().splitlines()[-1]
            raise RayError(f"node {name} cannot run foldrace {VERSION}: {told}") from None
        if found:
            raise RayError(f"node {name} {found}")


def look(paths: Sequence[Path], version: str) -> str:
    """What keeps workers from this machine, as a clause; empty where nothing does."""
    if version != VERSION:
        return f"has foldrace {VERSION}, and the machine of `foldrace run` has {version}: install the same one"
    unseen = next((path for path in paths if not path.exists()), None)
    right = "put it where every node sees it at this path"
    return "" if unseen is None else f"does not see {unseen}, which does not travel: {right}"
