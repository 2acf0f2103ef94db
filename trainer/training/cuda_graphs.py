"""Launches that a CUDA device repeats without Python."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Recording:
    """The launches of one call: the tensors that they read, and the tensor that they leave behind."""

    graph: torch.cuda.CUDAGraph
    inputs: Inputs
    output: Tensor


class Replay:
    """Calls a function of tensors, and from its second call with the same shapes on only repeats its launches.

    A small batch takes a CUDA device less time than Python takes to launch a thousand kernels for it. A CUDA graph
    launches them as one.

    The function must launch the same work for all inputs of a shape, it must not wait for the device, and the tensors
    that it changes must stay where they are. Numbers that it draws are drawn anew in each call.
    """

    def __init__(self) -> None:
        self._recordings: dict[tuple[object, ...], _Recording] = {}
        self._pool = torch.cuda.graph_pool_handle()  # one call's memory is that of the next
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, function: Callable[[Inputs], Tensor], inputs: Inputs, *constants: object) -> Tensor:
        """What the function gives. The next call may overwrite it.

        Args:
            constants: whatever else the function depends on.

        Raises:
            torch.OutOfMemoryError: the device has no room for the call, or for its recording.
        """
        key = (*constants, *((name, tensor.shape) for name, tensor in inputs.items()))
        known = self._recordings.get(key)
        if known is None:
            output = function(inputs)
            self._recordings[key] = self._record(function, inputs)
            return output
        for name, tensor in inputs.items():
            known.inputs[name].copy_(tensor)
        known.graph.replay()
        return known.output

    def _record(self, function: Callable[[Inputs], Tensor], inputs: Inputs) -> _Recording:
        """Record the launches of a call without a launch."""
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        # torch.cuda.graph would do so too, and would give back the memory that is reserved for what comes later.
        with torch.cuda.stream(self._stream):
            graph.capture_begin(self._pool, capture_error_mode="thread_local")
            try:
                output = function(inputs)
            finally:
                graph.capture_end()
        return _Recording(graph, inputs, output)
