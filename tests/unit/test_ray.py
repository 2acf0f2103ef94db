"""The pure parts of the Ray engine: bounds, growth, nodes, what travels, and what a worker's answers mean.

Real Ray is in tests/ray; here an actor is an object that answers what a test puts there.
"""

import math
import socket
import threading
import tomllib
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from foldrace.errors import FoldraceError
from foldrace.search.api.train import run
from foldrace.search.cluster.ray import cargo, connection, places
from foldrace.search.cluster.ray.actor import ActorOrder, refuse_node
from foldrace.search.cluster.ray.cargo import pack
from foldrace.search.cluster.ray.connection import HeadLostError, RayError, connected
from foldrace.search.cluster.ray.crew import RESIZE_SECONDS, Bounds, RayCrew
from foldrace.search.cluster.ray.nodes import (
    VERSION,
    Node,
    choose_resource,
    count_threads,
    describe,
    look,
    node_of,
    refuse_file,
)
from foldrace.search.cluster.ray.places import LOST_SECONDS, PlaceReader, Places
from foldrace.search.workers.process import State
from foldrace.studies.identity import Identity
from foldrace.studies.loading import load
from foldrace.studies.study import StudyError


def node(name: str, machine: str = "", **amounts: float) -> Node:
    return Node(f"id-{name}", name, machine or name, amounts)


@dataclass
class StubWorker:
    """A worker of the crew; a test places it, or has it end."""

    index: int
    state: State = "waiting"
    is_placed: bool = False

    @property
    def has_ended(self) -> bool:
        return self.state not in ("running", "waiting")

    def terminate(self) -> None:
        self.state = "stopped"


@dataclass
class Cluster:
    """A crew over a cluster with so many places, all or some of them free, and a clock that a test moves."""

    bounds: Bounds
    places: int
    free: int = -1
    now: float = 0.0
    begun: list[StubWorker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free = self.places if self.free < 0 else self.free
        self.crew = RayCrew(self.bounds, self._begin, lambda: Places(self.places, self.free), lambda: self.now)

    def _begin(self, index: int) -> Any:
        self.begun.append(StubWorker(index))
        return self.begun[-1]

    def workers(self, seconds: float = RESIZE_SECONDS) -> list[Any]:
        """The crew, so many seconds later."""
        self.now += seconds
        return list(self.crew())

    def place(self, count: int) -> None:
        for worker in [worker for worker in self.begun if not worker.is_placed][:count]:
            worker.is_placed, worker.state, self.free = True, "running", self.free - 1


def test_bounds_are_a_number_or_two() -> None:
    assert Bounds.parse("8") == Bounds(8, 8)
    assert Bounds.parse("4..16") == Bounds(4, 16)
    assert Bounds.parse(None) == Bounds(1, 1000)


@pytest.mark.parametrize("text", ["0", "16..4", "0..4", "4..", "..4", "-1", "many", "4...6", "1..1001", "9" * 5000])
def test_bounds_that_make_no_sense_are_one_line(text: str) -> None:
    with pytest.raises(RayError, match=r"^--workers \S+: expected a number from 1 to 1000, or two .* as in 4\.\.16$"):
        Bounds.parse(text)


def test_a_crew_takes_what_is_free_between_its_bounds_and_grows_with_the_cluster() -> None:
    cluster = Cluster(Bounds(2, 4), places=3)

    assert len(cluster.workers(0)) == 3
    cluster.place(3)
    assert len(cluster.workers()) == 3
    cluster.places, cluster.free = 12, 9
    assert [worker.index for worker in cluster.workers()] == [0, 1, 2, 3]


def test_the_least_are_asked_for_without_room_and_nothing_grows_while_one_waits() -> None:
    cluster = Cluster(Bounds(4, 16), places=2)

    assert len(cluster.workers(0)) == 4
    cluster.place(2)
    cluster.places, cluster.free = 9, 7
    assert len(cluster.workers()) == 4
    cluster.place(2)
    assert len(cluster.workers()) == 9


def test_a_crew_shrinks_to_those_that_have_a_place_where_the_cluster_loses_a_node() -> None:
    cluster = Cluster(Bounds(1, 4), places=3)
    cluster.workers(0)
    cluster.place(3)
    cluster.begun[1].is_placed = False

    assert len(cluster.workers()) == 3  # Ray starts it again on the node where it was
    cluster.places = 2
    assert [worker.index for worker in cluster.workers()] == [0, 2]
    assert cluster.begun[1].state == "stopped"
    cluster.places, cluster.free = 3, 1
    assert [worker.index for worker in cluster.workers()] == [0, 2, 1]


def test_nobody_waits_for_a_place_once_a_worker_found_nothing_left_to_do() -> None:
    cluster = Cluster(Bounds(4, 4), places=2)
    cluster.workers(0)
    cluster.place(2)
    cluster.begun[0].state = "done"

    assert [worker.index for worker in cluster.workers()] == [0, 1]


def test_a_head_that_does_not_answer_any_more_is_told_before_ray_ends_the_process(now: list[float]) -> None:
    answers = iter([Places(3, 1)])

    def read() -> Places:
        for answer in answers:
            return answer
        threading.Event().wait()
        raise AssertionError

    places = PlaceReader(read, lambda: now[0])

    assert places() == Places(3, 1)
    now[0] += LOST_SECONDS + 1
    with pytest.raises(HeadLostError, match=r"^the head of the Ray cluster has not answered for 20 s"):
        places()


def test_one_look_at_the_cluster_that_fails_is_no_lost_head(now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "READ_SECONDS", 0.01)
    answers: Iterator[Places | Exception] = iter([Places(3, 1), ConnectionError(), Places(4, 2)])
    was_read, threads = threading.Event(), threading.active_count()

    def read() -> Places:
        answer = next(answers, None)
        if answer is None:
            was_read.set()
        if isinstance(answer, Exception):
            raise answer
        return answer or Places(4, 2)

    with closing(PlaceReader(read, lambda: now[0])) as reader:
        assert was_read.wait(30)
        assert reader() == Places(4, 2)
    assert threading.active_count() == threads


def test_a_node_has_the_name_that_it_was_given_or_that_of_its_machine() -> None:
    row = {"NodeID": "1", "NodeManagerHostname": "gpu7", "NodeManagerAddress": "10.0.0.7", "Resources": {"CPU": 8.0}}

    assert node_of({**row, "NodeName": "10.0.0.7"}).name == "gpu7"
    assert node_of({**row, "NodeName": "rack 1/n:3"}).name == "rack-1-n-3"


def test_a_worker_takes_a_gpu_and_its_share_of_the_cores_and_a_cpu_where_there_is_no_gpu() -> None:
    nodes = [node("head", CPU=4), node("a", CPU=64, GPU=8), node("b", CPU=16, GPU=4)]

    assert choose_resource(nodes, "auto") == "GPU"
    assert choose_resource(nodes, "cpu") == choose_resource(nodes[:1], "auto") == "CPU"
    assert describe(nodes[1:], "GPU", 2) == "24 places on 2 nodes: 2 share a GPU"
    assert describe(nodes[:1], "CPU", 1) == "4 places on 1 node: a CPU each, as no node has a GPU"
    assert count_threads(nodes, "GPU", 1) == 4
    assert count_threads(nodes, "GPU", 0.5) == 2
    assert count_threads(nodes, "CPU", 1) == 1
    with pytest.raises(RayError, match="--devices 0,1: with --engine ray the cluster chooses the GPUs"):
        choose_resource(nodes, "0,1")
    with pytest.raises(RayError, match="no node of the cluster has a CPU: head"):
        choose_resource([node("head", memory=1)], "auto")


def test_an_sqlite_file_is_for_one_node_on_this_machine() -> None:
    url = "sqlite:////tmp/study.db"

    refuse_file(url, [node("n1", "here")], "here")
    refuse_file("postgresql+psycopg://dbhost/postgres", [node("n1"), node("n2")], "here")
    with pytest.raises(RayError, match=r"^SQLite cannot be shared by the nodes of a cluster \(n1, n2\); write search"):
        refuse_file(url, [node("n1", "here"), node("n2", "here")], "here")
    with pytest.raises(RayError, match=r"\(n1\); write search\.storage"):
        refuse_file(url, [node("n1", "there")], "here")


def test_a_node_without_the_data_or_with_another_foldrace_says_so(tmp_path: Path) -> None:
    missing = tmp_path / "train.tsv"

    assert look([tmp_path], VERSION) == ""
    assert look([tmp_path, missing], VERSION).startswith(f"does not see {missing}, which does not travel: put it")
    assert look([], "9.9").startswith(f"has foldrace {VERSION}, and the machine of `foldrace run` has 9.9")


@pytest.mark.parametrize(("job", "refused"), [("final-1", True), ("rescore-1", False), (None, False)])
def test_the_models_of_a_final_job_need_a_folder_that_all_nodes_share(
    tmp_path: Path, job: str | None, refused: bool
) -> None:
    order = ActorOrder(
        index=0,
        threads=1,
        root=tmp_path,
        job=job,
        logs=tmp_path,
        probe=tmp_path / "only-on-the-head.toml",
        needs=(),
        only_on=None,
        environment={},
        until=math.inf,
        version=VERSION,
        has_gpu=False,
    )

    with pytest.raises(RayError, match=f"^does not see {tmp_path}, where a") if refused else nullcontext():
        refuse_node(order)

    order.probe.touch()
    refuse_node(order)


def test_small_data_travels_with_a_study_that_is_the_same_one(tmp_path: Path) -> None:
    study = load("demo", ["search.storage=postgresql+psycopg://me:secret@dbhost/postgres"])

    assert pack(study, tmp_path) == []

    travelled = load(tmp_path / "study.toml")
    assert Identity.of(travelled) == Identity.of(study)
    assert all(file.is_relative_to(tmp_path) for files in travelled.data.files.values() for file in files)
    assert "secret" not in (tmp_path / "study.toml").read_text(encoding="utf-8")


def test_large_data_stays_where_it_is_and_so_does_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cargo, "MOST_BYTES", 10)
    (tmp_path / "model").mkdir()
    (tmp_path / "cargo").mkdir()
    study = load("demo", [f"model.name={tmp_path}/model"])

    needs = pack(study, tmp_path / "cargo")

    assert set(needs) == {*(file for files in study.data.files.values() for file in files), tmp_path / "model"}
    assert load(tmp_path / "cargo/study.toml").data == study.data
    assert tomllib.loads((tmp_path / "cargo/study.toml").read_text())["model"]["name"] == str(tmp_path / "model")


def test_a_model_in_a_relative_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()

    with pytest.raises(
        StudyError, match=f"^model.name = model: on a node, .* give its whole path, as {tmp_path}/model"
    ):
        pack(load("demo", ["model.name=model"]), tmp_path)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where somebody listens and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def test_an_address_that_does_not_answer_is_one_line(
    silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_SECONDS", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        closed = server.getsockname()[1]
    told = {
        f"127.0.0.1:{silent}": f"no Ray cluster answers at 127.0.0.1:{silent}: timed out",
        f"127.0.0.1:{closed}": f"no Ray cluster answers at 127.0.0.1:{closed}: Connection refused",
        "127.0.0.1:99999": "no Ray cluster answers at 127.0.0.1:99999: ",
        "nonsense": "expected auto, or HOST:PORT of the head of a Ray cluster",
        "ray://head:10001": "a Ray client",
    }

    for address, reason in told.items():
        with pytest.raises(RayError, match=f"^--address {address}: {reason}"), connected(address, tmp_path):
            pass


def test_without_a_cluster_or_without_ray_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(connection, "_CURRENT", tmp_path / "none")
    with pytest.raises(RayError, match="this machine belongs to no Ray cluster"), connected("auto", tmp_path):
        pass

    monkeypatch.setattr(connection, "find_spec", lambda _: None)
    with pytest.raises(RayError, match=r"Ray is not installed here; pip install 'foldrace\[ray\]'"):
        run("demo", engine="ray", workspace=tmp_path)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"engine": "dask"}, "--engine 'dask': expected local or ray"),
        ({"address": "auto"}, "--address auto: of a Ray cluster; it needs --engine ray"),
        ({"workers": "4..16"}, "--workers '4..16': expected a number; a range, as 4..16, needs --engine ray"),
        ({"workers": "0"}, "--workers 0: expected 1 to 1000"),
        ({"workers": "0", "engine": "ray"}, "--workers '0': expected a number from 1 to 1000"),
        ({"workers": "16..4", "engine": "ray"}, r"--workers '16\.\.4': expected a number from 1 to 1000"),
    ],
)
def test_what_was_asked_amiss_is_told_before_anything_is_begun(
    asked: dict[str, str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(FoldraceError, match=f"^{told}"):
        run("demo", workspace=tmp_path, devices="cpu", **asked)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
