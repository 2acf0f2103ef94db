"""What is recorded, repeated and given up, on a fake device. tests/support/cuda.py checks what a real one repeats."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from foldrace.trainer.training.loop import start_fold
from foldrace.trainer.training.replay import Inputs, Replay
from tests.support.folds import small_task


class Stream:
    def wait_stream(self, _: object) -> None: ...


class Graph:
    """Notes what happens to it. A device would launch what it recorded; this one leaves the output as it is."""

    made: list["Graph"]

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.made.append(self)

    def capture_begin(self, *_: object, **__: object) -> None:
        self.happened.append("begins")

    def capture_end(self) -> None:
        self.happened.append("ends")

    def replay(self) -> None:
        self.happened.append("repeats")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    Graph.made = []
    for name, fake in {"CUDAGraph": Graph, "Stream": Stream, "current_stream": Stream}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    return Graph.made


def doubling(seen: list[Tensor]) -> Callable[[Inputs], Tensor]:
    def double(inputs: Inputs) -> Tensor:
        seen.append(inputs["x"])
        return 2 * inputs["x"]

    return double


def test_the_second_call_of_a_shape_repeats_the_first_on_its_inputs(graphs: list[Graph]) -> None:
    seen: list[Tensor] = []
    call = Replay()

    first = call(doubling(seen), {"x": torch.tensor([1.0, 2.0])})
    call(doubling(seen), {"x": torch.tensor([3.0, 4.0])})

    assert first.tolist() == [2, 4]
    assert [graph.happened for graph in graphs] == [["begins", "ends", "repeats"]]
    assert len(seen) == 2  # once launched, once recorded
    assert seen[1].tolist() == [3, 4]  # the recorded launches read the new values


def test_another_shape_or_constant_is_recorded_by_itself(graphs: list[Graph]) -> None:
    call = Replay()

    call(doubling([]), {"x": torch.ones(2)}, 8)
    call(doubling([]), {"x": torch.ones(3)}, 8)
    call(doubling([]), {"x": torch.ones(2)}, 16)

    assert [graph.happened for graph in graphs] == 3 * [["begins", "ends"]]


def test_a_recording_without_room_is_ended_and_not_kept(graphs: list[Graph]) -> None:
    calls = 0

    def short_of_memory(_: Inputs) -> Tensor:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise torch.OutOfMemoryError("no room")
        return torch.ones(1)

    call = Replay()
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            call(short_of_memory, {"x": torch.ones(2)})

    assert [graph.happened for graph in graphs] == 2 * [["begins", "ends"]]


def test_a_fold_without_room_for_recordings_does_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> Any:
        raise torch.OutOfMemoryError("no room for a recording")

    alone, short = (start_fold(small_task(dropout=0.0)) for _ in range(2))
    monkeypatch.setattr(short._gradients, "_replay", no_room)

    alone.train_step()
    short.train_step()

    assert short.state.micro_batch == alone.state.micro_batch
    assert not short._gradients.stay
    for one, other in zip(alone.state.model.parameters(), short.state.model.parameters(), strict=True):
        assert torch.equal(one, other)
