"""What is captured, replayed and given up, on a fake device. tests/support/cuda.py checks what a real one replays."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from foldrace.trainer.training import cuda_graphs
from foldrace.trainer.training.cuda_graphs import CudaGraphs, Inputs
from foldrace.trainer.training.loop import start_fold
from tests.support.folds import small_task


class Stream:
    def wait_stream(self, _: object) -> None: ...


class Graph:
    """Notes what happens to it. A device would launch what it captured; this one leaves the output as it is."""

    made: list["Graph"]

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.made.append(self)

    def capture_begin(self, *_: object, **__: object) -> None:
        self.happened.append("begins")

    def capture_end(self) -> None:
        self.happened.append("ends")

    def replay(self) -> None:
        self.happened.append("replays")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    Graph.made = []
    cuda_graphs._capture_stream.cache_clear()
    for name, fake in {"CUDAGraph": Graph, "Stream": Stream, "current_stream": Stream}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    return Graph.made


def double(inputs: Inputs) -> Tensor:
    return 2 * inputs["x"]


def failing_in_turn(*errors: Exception | None) -> Callable[[Inputs], Tensor]:
    """A function that gives ones, or raises an error in the call that it is named for."""
    left = list(errors)

    def give(_: Inputs) -> Tensor:
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return torch.ones(2)

    return give


def happened(graphs: list[Graph]) -> list[list[str]]:
    return [graph.happened for graph in graphs]


def test_a_shape_is_captured_at_its_second_call_and_replayed_from_then_on(graphs: list[Graph]) -> None:
    call, seen = CudaGraphs(), list[Tensor]()

    def double_and_note(inputs: Inputs) -> Tensor:
        seen.append(inputs["x"])
        return double(inputs)

    first = call(double_and_note, {"x": torch.tensor([1.0, 2.0])})
    assert first.tolist() == [2, 4]
    assert not call.any
    for value in (3.0, 5.0):
        call(double_and_note, {"x": torch.tensor([value, value])})

    assert happened(graphs) == [["begins", "ends", "replays", "replays"]]
    assert call.any
    assert len(seen) == 2  # once launched, once captured
    assert seen[1].tolist() == [5, 5]  # what was captured reads the new values


def test_another_shape_or_constant_is_captured_by_itself(graphs: list[Graph]) -> None:
    call = CudaGraphs()

    for _ in range(2):
        call(double, {"x": torch.ones(2)}, 8)
        call(double, {"x": torch.ones(3)}, 8)
        call(double, {"x": torch.ones(2)}, 16)

    assert happened(graphs) == 3 * [["begins", "ends", "replays"]]


@pytest.mark.parametrize("said", ["CUDA out of memory.", "CUDA error: out of memory"])
def test_without_room_for_a_graph_the_function_is_called_and_all_graphs_are_dropped(
    graphs: list[Graph], said: str
) -> None:
    error = RuntimeError(said) if "error" in said else torch.OutOfMemoryError(said)
    call, function = CudaGraphs(), failing_in_turn(None, None, None, error)
    for _ in range(2):
        call(function, {"x": torch.ones(2)})
    call(function, {"x": torch.ones(3)})

    for _ in range(4):
        assert call(function, {"x": torch.ones(3)}).tolist() == [1, 1]

    assert happened(graphs) == [["begins", "ends", "replays"], ["begins", "ends"]]
    assert not call.any


def test_what_broke_a_capture_is_told_and_not_that_it_is_broken(
    graphs: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_: Graph) -> None:
        raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(Graph, "capture_end", end)
    call, function = CudaGraphs(), failing_in_turn(None, ValueError("a wait in a layer"))
    call(function, {"x": torch.ones(2)})

    with pytest.raises(ValueError, match="a wait in a layer"):
        call(function, {"x": torch.ones(2)})


def test_the_environment_switches_graphs_off(graphs: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDRACE_CUDA_GRAPHS", "0")
    call = CudaGraphs()

    assert [call(double, {"x": torch.ones(1)}).item() for _ in range(3)] == [2, 2, 2]
    assert not graphs


@pytest.mark.parametrize("had_graphs", [True, False])
def test_a_fold_without_room_drops_its_graphs_before_it_halves_a_batch(
    monkeypatch: pytest.MonkeyPatch, had_graphs: bool
) -> None:
    class NoRoom:
        any = had_graphs

        def __call__(self, function: Callable[[Inputs], Tensor], inputs: Inputs, *_: object) -> Tensor:
            if self.any == had_graphs and len(inputs["labels"]) == 8:
                raise torch.OutOfMemoryError("no room")
            return function(inputs)

        def drop(self) -> None:
            self.any = False

    alone, short = (start_fold(small_task(dropout=0.0)) for _ in range(2))
    monkeypatch.setattr(short._gradients, "_graphs", NoRoom())

    alone.train_step()
    short.train_step()

    assert short.state.micro_batch == (alone.state.micro_batch if had_graphs else 4)
    for one, other in zip(alone.state.model.parameters(), short.state.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=0 if had_graphs else 1e-3)


def test_without_room_gradients_stay_where_a_later_graph_adds_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class FullAtOnce:
        any, calls = False, 0

        def __call__(self, function: Callable[[Inputs], Tensor], inputs: Inputs, *_: object) -> Tensor:
            self.calls += 1
            if self.calls == 2:
                raise torch.OutOfMemoryError("no room in the second step")
            return function(inputs)

    fold = start_fold(small_task())
    monkeypatch.setattr(fold._gradients, "_graphs", FullAtOnce())
    fold.train_step()
    before = [p.grad for p in fold.state.model.parameters()]

    fold.train_step()

    assert fold.state.micro_batch == 4
    assert all(p.grad is grad for p, grad in zip(fold.state.model.parameters(), before, strict=True))
