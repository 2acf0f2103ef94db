"""Launches that a CUDA device repeats without Python."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from foldrace.trainer.modeling.devices import is_out_of_memory

SWITCH = "FOLDRACE_CUDA_GRAPHS"  # "0" in the environment: there are none

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Captured:
    """The launches of one call: the tensors that they read, and the tensor that they leave behind."""

    graph: torch.cuda.CUDAGraph
    inputs: Inputs
    output: Tensor


class CudaGraphs:
    """CUDA graphs of a function of tensors, one for each shape of its inputs.

    A small batch takes a CUDA device less time than Python takes to launch a thousand kernels for it; a graph launches
    them as one. The first call of a shape is the function's own, the second one captures its launches, which takes
    Python once more, and from then on they are replayed.

    The function must launch the same work for all inputs of a shape, it must not wait for the device, and the tensors
    that it changes must stay where they are. What it draws from torch's own generator is drawn anew in each call.
    """

    def __init__(self) -> None:
        self._captured: dict[tuple[object, ...], _Captured | None] = {}
        self._pool = torch.cuda.graph_pool_handle()  # one graph's memory is that of the next
        self._without = os.environ.get(SWITCH) == "0"

    @property
    def any(self) -> bool:
        """Whether a graph holds memory."""
        return any(self._captured.values())

    def drop(self) -> None:
        """Give all memory back. Nothing is captured from here on."""
        self._captured, self._without = {}, True

    def __call__(self, function: Callable[[Inputs], Tensor], inputs: Inputs, *constants: object) -> Tensor:
        """What the function gives. The next call may overwrite it.

        Args:
            function: the same one in each call.
            constants: whatever else it depends on.
        """
        key = (*constants, *((name, tensor.shape) for name, tensor in inputs.items()))
        if self._without or key not in self._captured:
            self._captured.setdefault(key, None)
            return function(inputs)
        captured = self._captured[key] = self._captured[key] or self._capture_in_room(function, inputs)
        if captured is None:
            self.drop()
            return function(inputs)
        for name, tensor in inputs.items():
            captured.inputs[name].copy_(tensor)
        captured.graph.replay()
        return captured.output

    def _capture_in_room(self, function: Callable[[Inputs], Tensor], inputs: Inputs) -> _Captured | None:
        """None where the device has no room for a graph."""
        try:
            return self._capture(function, inputs)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _capture(self, function: Callable[[Inputs], Tensor], inputs: Inputs) -> _Captured:
        """Capture the launches of a call. Nothing is computed."""
        graph, stream = torch.cuda.CUDAGraph(), _capture_stream()
        stream.wait_stream(torch.cuda.current_stream())  # earlier replays read the generator's state, which it writes
        # torch.cuda.graph would do so too, and would give back the memory that is reserved for what comes later.
        with torch.cuda.stream(stream):
            graph.capture_begin(self._pool, capture_error_mode="thread_local")
            try:
                output = function(inputs)
            except BaseException:
                with suppress(RuntimeError):  # what broke the capture is told, not that it is broken
                    graph.capture_end()
                raise
            graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        return _Captured(graph, inputs, output)


@cache
def _capture_stream() -> torch.cuda.Stream:
    """One for the process: cuBLAS keeps a workspace for every stream that it has seen."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]
