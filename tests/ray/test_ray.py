"""Workers on a real Ray cluster: a node lost, one added, the driver killed; nothing lost, nothing twice."""

import os
import re
import signal
from pathlib import Path

import pytest
import ray

from foldrace.search.cluster.ray.connection import RayError
from foldrace.search.cluster.ray.nodes import read_nodes, refuse_blind
from foldrace.search.monitor.status import StudyStatus, WorkerStatus
from foldrace.search.monitor.status_reader import find_status
from foldrace.search.session import open_session
from foldrace.storage.errors import StorageError
from foldrace.studies.loading import load
from tests.ray.conftest import Foldrace, Nodes, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(2400), pytest.mark.filterwarnings("ignore:::ray")]

STORED = ("--set", "search.storage=workspace")
SETTINGS = (
    *STORED,
    *("--set", "search.checkpoint_minutes=0.05", "--set", "search.lease_seconds=30"),
    *("--set", "folds.count=3", "--set", "search.baseline={}", "--set", "training.epochs={low=4,high=10}"),
)


def status_of(workspace: Path) -> StudyStatus | None:
    try:
        with open_session(load("demo", ["search.storage=workspace"]), workspace) as session:
            return find_status(session.database, "demo")
    except StorageError:  # the run starts the database
        return None


def at_work(workspace: Path) -> dict[str, WorkerStatus]:
    """The workers that train, by their nodes."""
    status = status_of(workspace)
    alive = [] if status is None else status.alive
    return {worker.host: worker for worker in alive if worker.epoch is not None}


def test_a_node_lost_one_added_and_a_driver_killed_lose_nothing(nodes: Nodes, foldrace: Foldrace) -> None:
    for name in ("n1", "n2", "n3"):
        nodes.add(name)
    workspace = foldrace.workspace
    first = foldrace.run_on_ray("--trials", "16", "--workers", "1..4", *SETTINGS)

    seen: dict[str, WorkerStatus] = {}

    def are_all_at_work() -> bool:
        seen.update(at_work(workspace))
        return len(seen) == 3

    def is_elsewhere(lost: WorkerStatus) -> bool:
        others = [worker for host, worker in at_work(workspace).items() if host != lost.host]
        return any((worker.number, worker.fold) == (lost.number, lost.fold) for worker in others)

    def has_checkpoint() -> bool:
        seen.update(at_work(workspace))
        fold = workspace / f"demo/trial-{seen['n2'].number:05}/fold-{seen['n2'].fold}"
        return any(fold.glob("attempt-*/*"))

    wait_until(are_all_at_work, foldrace.explain)
    wait_until(has_checkpoint, foldrace.explain)
    nodes.remove("n2")
    wait_until(lambda: is_elsewhere(seen["n2"]), foldrace.explain)
    nodes.add("n4")
    wait_until(lambda: "n4" in at_work(workspace), foldrace.explain)
    first.kill()
    first.wait()
    before = status_of(workspace)
    assert before is not None
    assert before.unfinished
    again = foldrace.run_on_ray("--trials", "16", "--workers", "1..4", *SETTINGS)
    assert again.wait(900) == 0, foldrace.explain()

    status = status_of(workspace)
    assert status is not None
    assert (status.state, status.total, status.trials.get("FAIL", 0), status.orphans) == ("done", 16, 0, ())
    told = re.findall(r"trial (\d+) (?:complete|pruned)", foldrace.log())
    assert len(told) == len(set(told))
    assert "goes on in fold" in foldrace.log()
    assert "cluster   3 places on 3 nodes: a CPU each, as no node has a GPU" in foldrace.output.read_text()
    assert "lost its node n2: Ray starts it again where there is room" in foldrace.output.read_text()


def test_a_node_with_a_logical_gpu_is_told_to_train_on_the_cpu_and_ctrl_c_and_stop_let_go(
    nodes: Nodes, foldrace: Foldrace
) -> None:
    nodes.add("g1", gpus=1)
    workspace = foldrace.workspace
    command = foldrace.run_on_ray(*SETTINGS)
    wait_until(lambda: at_work(workspace), foldrace.explain)
    command.send_signal(signal.SIGINT)

    assert command.wait(120) == 130, foldrace.explain()
    told = foldrace.output.read_text()
    assert "node g1: no CUDA device is behind the GPU that Ray counts there, so its worker trains on the CPU" in told
    status = status_of(workspace)
    assert status is not None
    assert (status.alive, status.trials.get("FAIL", 0)) == ([], 0)
    assert {orphan.why for orphan in status.orphans} == {"released"}

    command = foldrace.run_on_ray(*SETTINGS)
    wait_until(lambda: at_work(workspace), foldrace.explain)
    foldrace("stop", "demo", *STORED)
    assert command.wait(120) == 0, foldrace.explain()


def test_a_lost_head_ends_the_run_with_a_line_and_loses_nothing(nodes: Nodes, foldrace: Foldrace) -> None:
    nodes.add("n1")
    workspace = foldrace.workspace
    command = foldrace.run_on_ray("--trials", "3", *SETTINGS)
    wait_until(lambda: at_work(workspace), foldrace.explain)
    nodes.lose_head()

    assert command.wait(120) == os.EX_TEMPFAIL, foldrace.explain()
    assert "the head of the Ray cluster has not answered for 20 s" in foldrace.output.read_text().splitlines()[-1]
    foldrace("run", "demo", "--trials", "3", "--workers", "1", *SETTINGS)
    status = status_of(workspace)
    assert status is not None
    assert (status.state, status.total, status.trials.get("FAIL", 0)) == ("done", 3, 0)
    told = re.findall(r"trial (\d+) (?:complete|pruned)", foldrace.log())
    assert len(told) == len(set(told))


def test_a_rescore_and_a_final_job_have_their_workers_there_too(nodes: Nodes, foldrace: Foldrace) -> None:
    nodes.add("n1")
    nodes.add("n2")
    workspace, final = foldrace.workspace, foldrace.workspace / "demo/final.toml"

    assert foldrace.run_on_ray("--trials", "2", *SETTINGS).wait(900) == 0, foldrace.explain()
    assert foldrace.on_ray("rescore", "demo", "--top", "1").wait(600) == 0, foldrace.explain()
    foldrace("export", "demo")
    folds = ("--set", "final.folds=2", "--set", "training.epochs=1", "--workers", "1..4")
    assert foldrace.on_ray("final", str(final), *folds).wait(600) == 0, foldrace.explain()

    told = foldrace.output.read_text()
    assert told.count("cluster   2 places on 2 nodes") == 3
    assert "3 fresh folds each" in told
    assert len(list((workspace / "demo/submissions").glob("*/*.csv"))) == 1


def test_what_a_cluster_cannot_do_is_one_line(nodes: Nodes, foldrace: Foldrace, tmp_path: Path) -> None:
    nodes.add("n1")
    nodes.add("n2")

    command = foldrace.run_on_ray()

    assert command.wait(120) == 2
    refused = foldrace.output.read_text().splitlines()[-1]
    assert refused.startswith("foldrace: SQLite cannot be shared by the nodes of a cluster (n1, n2); write search.stor")
    ray.init(nodes.address, log_to_driver=False)
    try:
        with pytest.raises(
            RayError, match=f"^node n1 does not see {tmp_path}/train.tsv, which does not travel: put it"
        ):
            refuse_blind([node for node in read_nodes() if node.name == "n1"], [tmp_path / "train.tsv"])
    finally:
        ray.shutdown()
