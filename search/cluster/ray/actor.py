"""The actor of one worker: it looks after its process on the node where Ray has placed it.

Where the node is lost, Ray makes the actor anew on another one, and with it a new process.
"""

import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from foldrace.errors import FoldraceError
from foldrace.search.cluster.ray.cargo import STUDY_FILE
from foldrace.search.cluster.ray.connection import RayError
from foldrace.search.cluster.ray.nodes import look, read_nodes
from foldrace.search.study_store import RESCORE
from foldrace.search.workers.command import WorkerCommand
from foldrace.search.workers.process import WorkerProcess, WorkerView
from foldrace.search.workers.slots import Slot, count_cuda_devices
from foldrace.search.workers.supervisor import TICK_SECONDS
from foldrace.storage.workers import NODE_VARIABLE


@dataclass(frozen=True)
class ActorOrder:
    """What an actor is asked for; it is the same after each loss of a node.

    Attributes:
        root: the workspace.
        job: whose folds are trained, as final-1 or rescore-1; None: the trials of the search.
        logs: the folder of what the workers print.
        probe: a file in the run's folder; a node that does not see it has a workspace of its own.
        needs: the paths that each node has to see.
        only_on: the one machine that may run it; None: any.
        environment: what the processes find there; it may hold a password.
        until: seconds since 1970; infinite without a limit.
        version: of foldrace, where the run was started.
        has_gpu: whether Ray gives it a GPU.
    """

    index: int
    threads: int
    root: Path
    job: str | None
    logs: Path
    probe: Path
    needs: tuple[Path, ...]
    only_on: str | None
    environment: Mapping[str, str]
    until: float
    version: str
    has_gpu: bool

    @property
    def leaves_models(self) -> bool:
        """Whether its folds are those of a final job: the ensemble is made of what they leave in the workspace."""
        return self.job not in (None, RESCORE)

    def seconds_left(self) -> float:
        """Until the end of the run; infinite without a limit."""
        return self.until - time.time()


@dataclass(frozen=True)
class ActorView:
    """A worker as its actor sees it; `owner` is the name of its process in the database, None before the first."""

    node: str
    worker: WorkerView
    owner: str | None


class WorkerActor:
    """Keeps one worker process alive, and tells how it is. Its methods are called by `RayWorker`."""

    def __init__(self, order: ActorOrder) -> None:
        os.environ.update(order.environment)
        self._node = os.environ[NODE_VARIABLE] = _own_node()
        self._lock = threading.Lock()
        self._logs, self._slot = order.logs, Slot(order.index, "cpu", order.threads, f"on {self._node}")
        self._command = WorkerCommand(Path(STUDY_FILE).absolute(), order.root, order.job, order.seconds_left)
        self._process: WorkerProcess | None = None
        self._failure = self._remark = ""
        try:
            refuse_node(order)
            self._slot = _find_slot(order, self._node)
            self._process = WorkerProcess(self._slot, self._command, order.logs, time.monotonic)
        except FoldraceError as error:
            self._failure = f"worker {order.index} is given up: node {self._node} {error}"
            return
        self._remark = _remark(order, self._slot, self._node)
        # The one thread that starts processes: Linux ends them with the thread that started them.
        threading.Thread(target=self._look_after, name="look-after", daemon=True).start()

    def view(self) -> ActorView:
        """The worker as it is now."""
        with self._lock:
            if self._process is None or self._failure:
                failed = WorkerView(self._slot, "given up", None, 0, self._failure, (), self._logs)
                return ActorView(self._node, failed, None)
            view = self._process.view()
            owner = self._command.owners.get(self._slot.index)
            return ActorView(self._node, replace(view, note=view.note or self._remark), owner)

    def terminate(self) -> None:
        """Ask the worker to save its trial, release it, and end."""
        with self._lock:
            if self._process is not None:
                self._process.terminate()

    def _look_after(self) -> None:
        assert self._process is not None
        while not self._failure:
            with self._lock:
                try:
                    self._process.poll()
                except FoldraceError as error:
                    self._failure = str(error)
            time.sleep(TICK_SECONDS)


def _own_node() -> str:
    """The name of the node that this process is on."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return next((node.name for node in read_nodes() if node.id == own), socket.gethostname())


def refuse_node(order: ActorOrder) -> None:
    """Raise RayError where this machine cannot run a worker: it may have joined after the others were asked."""
    if order.only_on not in (None, socket.gethostname()):
        raise RayError(f"does not see the SQLite database, which is on {order.only_on}")
    if order.leaves_models and not order.probe.exists():
        raise RayError(f"does not see {order.root}, where a final job leaves its models: share that folder")
    if found := look(order.needs, order.version):
        raise RayError(found)


def _find_slot(order: ActorOrder, node: str) -> Slot:
    """The place of the process: the one GPU that Ray shows this actor, or the CPU."""
    import ray

    if not order.has_gpu or not count_cuda_devices():
        return Slot(order.index, "cpu", order.threads, f"cpu on {node}")
    number = next(iter(ray.get_gpu_ids()), 0)
    return Slot(order.index, "cuda:0", order.threads, f"cuda:{number} on {node}")


def _remark(order: ActorOrder, slot: Slot, node: str) -> str:
    """What the user should know of this node; else empty."""
    if order.has_gpu and slot.device == "cpu":
        return f"node {node}: no CUDA device is behind the GPU that Ray counts there, so its worker trains on the CPU"
    if not order.probe.exists():
        own = f"does not see the files of this run in {order.root}, and keeps its own there"
        return f"node {node} {own}: a fold that leaves it begins anew"
    return ""
