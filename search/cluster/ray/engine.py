"""The engine of `--engine ray`: from an address to a crew on the nodes of its cluster."""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from foldrace.search.cluster.database import open_to_nodes
from foldrace.search.cluster.ray import nodes
from foldrace.search.cluster.ray.actor import ActorOrder, WorkerActor
from foldrace.search.cluster.ray.cargo import pack
from foldrace.search.cluster.ray.connection import AUTO, connected
from foldrace.search.cluster.ray.crew import Bounds, RayCrew
from foldrace.search.cluster.ray.places import PlaceReader, Places
from foldrace.search.cluster.ray.worker import RayWorker
from foldrace.search.launch.supervision import Engine, EngineOptions
from foldrace.search.session import storage_url
from foldrace.search.workers.command import WorkerCommand
from foldrace.storage.address import IN_WORKSPACE, parse
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import STORAGE_VARIABLE
from foldrace.studies.study import Study

_PASSED_ON = ("PGPASSWORD",)  # from the environment of this process, where it is there


@contextmanager
def ray_engine(study: Study, root: Path, options: EngineOptions, say: Callable[[str], None]) -> Iterator[Engine]:
    """Be connected to a cluster whose nodes can run the workers of a study.

    Args:
        root: the workspace. Where its own server is the database, it is opened to the nodes.
        say: gets a line about the cluster.

    Raises:
        RayError: what keeps the cluster from it.
        StorageError: the workspace's server cannot be reached by the nodes.
    """
    bounds = Bounds.parse(None if options.workers is None else str(options.workers))
    with tempfile.TemporaryDirectory(prefix="foldrace-") as folder:
        needs = pack(study, Path(folder))
        with connected(options.address or AUTO, Path(folder)):
            found = nodes.read_nodes()
            resource = nodes.choose_resource(found, options.devices)
            able = [node for node in found if node.amounts.get(resource)]
            if study.search.storage == IN_WORKSPACE and {node.machine for node in able} != {socket.gethostname()}:
                open_to_nodes(root)
            if study.search.storage != IN_WORKSPACE:
                nodes.refuse_file(storage_url(study, Workspace(root, study.name)), able)
            nodes.refuse_blind(able, needs)
            say(f"cluster   {nodes.describe(able, resource, options.per_device)}")
            share = 1 / options.per_device
            placement = _Placement(study, tuple(needs), resource, share, nodes.count_threads(able, resource, share))
            with closing(PlaceReader(placement.count)) as places:
                yield lambda command, logs: RayCrew(bounds, placement.beginner(command, logs), places)


@dataclass(frozen=True)
class _Placement:
    """Where workers of a study can be: each takes a share of a GPU, or of a CPU."""

    study: Study
    needs: Sequence[Path]
    resource: nodes.Resource
    share: float
    threads: int

    def beginner(self, command: WorkerCommand, logs: Path) -> Callable[[int], RayWorker]:
        """What asks the cluster for a worker of one run, by its number."""
        import ray

        asked = {"num_gpus": self.share, "num_cpus": 0} if self.resource == "GPU" else {"num_cpus": self.share}
        actor = ray.remote(WorkerActor).options(max_restarts=-1, **asked)

        def begin(index: int) -> RayWorker:
            return RayWorker(index, actor.remote(self._order(index, command, logs)), command.owners)

        return begin

    def count(self) -> Places:
        """The places of the cluster, by now."""
        import ray

        amounts = [found.get(self.resource, 0.0) for found in (ray.cluster_resources(), ray.available_resources())]
        return Places(*(int(amount / self.share + 1e-6) for amount in amounts))

    def _order(self, index: int, command: WorkerCommand, logs: Path) -> ActorOrder:
        url = parse(storage_url(self.study, Workspace(command.root, self.study.name)))
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return ActorOrder(
            index=index,
            threads=self.threads,
            root=command.root,
            job=command.job,
            logs=logs,
            probe=command.study_file,
            needs=tuple(self.needs),
            only_on=socket.gethostname() if url.drivername == "sqlite" else None,
            environment=passed | {STORAGE_VARIABLE: url.render_as_string(hide_password=False)},
            until=time.time() + command.seconds_left(),
            version=nodes.VERSION,
            has_gpu=self.resource == "GPU",
        )
