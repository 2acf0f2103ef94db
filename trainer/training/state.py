"""The state of a fold between two optimiser steps. What a checkpoint holds is declared here, once, and nowhere else."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Annotated, Any, get_origin, get_type_hints

import torch
from torch import Tensor
from transformers import PreTrainedModel

from foldrace.trainer.arrays import Float32Array
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.modeling.average import averaged_weights
from foldrace.trainer.modeling.devices import random_state, set_random_state
from foldrace.trainer.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class _Codec:
    """How a field of the state goes into a checkpoint, and comes back.

    Attributes:
        save: turns the field's value into a tensor, into tensors by name (`grouped`), or into plain data.
        load: turns the field's value, what was saved, and the device into the value to go on with.
        grouped: in the file, the field's name stands before the name of each of its tensors.
    """

    save: Callable[[Any], Any]
    load: Callable[[Any, Any, torch.device], Any]
    grouped: bool = False


def _load_model(model: PreTrainedModel, saved: dict[str, Tensor], _: torch.device) -> PreTrainedModel:
    model.load_state_dict(saved)
    return model


def _save_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    states = optimizer.state_dict()["state"].items()
    return {f"{i}.{name}": tensor for i, state in states for name, tensor in state.items() if tensor is not None}


def _load_optimizer(
    optimizer: torch.optim.Optimizer, saved: dict[str, Tensor], _: torch.device
) -> torch.optim.Optimizer:
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in saved.items():
        i, name = key.split(".", 1)
        states.setdefault(int(i), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return optimizer


def _load_weights(_: object, saved: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in saved.items()}


def _load_average(_: object, saved: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    # Copies lie where torch allocates them, as those of a fold that was not interrupted. Products of tensors that are
    # not aligned may differ in their last bits.
    return {name: tensor.to(device, copy=True) for name, tensor in saved.items()}


def _load_random(random: Tensor, saved: Tensor, _: torch.device) -> Tensor:
    # The states of a CPU and of a CUDA device differ in size. One kind of device cannot read the other's.
    return saved if saved.shape == random.shape else random


_PLAIN = _Codec(lambda value: value, lambda _, saved, __: saved)
_ON_DEVICE = _Codec(lambda tensor: tensor, lambda _, saved, device: saved.to(device))
_MODEL = _Codec(lambda model: model.state_dict(), _load_model, grouped=True)
_OPTIMIZER = _Codec(_save_optimizer, _load_optimizer, grouped=True)
_WEIGHTS = _Codec(lambda weights: weights, _load_weights, grouped=True)
_AVERAGE = _Codec(lambda weights: weights, _load_average, grouped=True)
_RANDOM = _Codec(lambda random: random, _load_random)
_CURVE = _Codec(
    lambda curve: [evaluation.to_json() for evaluation in curve],
    lambda _, saved, __: [EvaluationRecord.from_json(record) for record in saved],
)
_DEVICE = _Codec(lambda device: device.type, lambda device, _, __: device)  # for people: a fold stays on its device


@dataclass(eq=False)
class FoldState:
    """All that a fold's future depends on, beside its task.

    A checkpoint holds the step, and each field that is annotated with a codec, under the field's name. A field that a
    stored checkpoint does not have keeps its initial value, so a field that is added later leaves old checkpoints
    readable.

    Attributes:
        step: optimiser steps done.
        random: the state of the generator that dropout draws from, as it was at the last `pause`.
        micro_batch: rows of a batch that go through the model at once; R-Drop takes each of them twice.
        loss: the training loss, summed over `loss_rows` rows since the last evaluation. To read it is to wait for the
            device.
        average: the moving average of the trained weights, by name; empty before the first step, and without ema_decay.
        best: the weights at the best evaluation so far, by name.
        best_probabilities: (validation rows, classes), of those weights, on the CPU.
        curve: the evaluations so far.
        seconds_training, seconds_evaluating: wall time over all attempts, without the consumer's.
    """

    model: Annotated[PreTrainedModel, _MODEL]
    optimizer: Annotated[torch.optim.Optimizer, _OPTIMIZER]
    device: Annotated[torch.device, _DEVICE]
    micro_batch: Annotated[int, _PLAIN]
    step: int = 0
    random: Annotated[Tensor, _RANDOM] = field(init=False)
    loss: Annotated[Tensor, _ON_DEVICE] = field(init=False)
    loss_rows: Annotated[int, _PLAIN] = field(init=False)
    average: Annotated[dict[str, Tensor], _AVERAGE] = field(default_factory=dict)
    best: Annotated[dict[str, Tensor], _WEIGHTS] = field(default_factory=dict)
    best_probabilities: Annotated[Tensor, _PLAIN] = field(default_factory=lambda: torch.empty(0))
    curve: Annotated[list[EvaluationRecord], _CURVE] = field(default_factory=list)
    seconds_training: Annotated[float, _PLAIN] = 0.0
    seconds_evaluating: Annotated[float, _PLAIN] = 0.0

    def __post_init__(self) -> None:
        self.random = random_state(self.device)
        self._start_loss()
        self._clock = time.perf_counter()

    # Checkpoints

    def snapshot(self, task: str) -> Checkpoint:
        """A copy of the state, on the CPU. `task` is the hash of the fold's task."""
        tensors: dict[str, Tensor] = {}
        values: dict[str, Any] = {}
        for name, codec in _CODECS.items():
            saved = codec.save(getattr(self, name))
            if codec.grouped:
                tensors |= {f"{name}.{key}": tensor for key, tensor in saved.items()}
            elif isinstance(saved, Tensor):
                tensors[name] = saved
            else:
                values[name] = saved
        copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        return Checkpoint(task, self.step, copies, values)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint. Its tensors become the state's own, so it is good for one restore."""
        stored = checkpoint.tensors | checkpoint.state
        for name, codec in _CODECS.items():
            group = {key.removeprefix(f"{name}."): t for key, t in stored.items() if key.startswith(f"{name}.")}
            saved = group or None if codec.grouped else stored.get(name)
            if saved is not None:
                setattr(self, name, codec.load(getattr(self, name), saved, self.device))
        self.step = checkpoint.step
        set_random_state(self.device, self.random)

    # The consumer's turns

    def pause(self) -> None:
        """Remember the generator's state before the consumer may draw from it."""
        self.random = random_state(self.device)

    def resume(self) -> None:
        """Forget what the consumer did since `pause`: the numbers it drew and the time it took."""
        set_random_state(self.device, self.random)
        self._clock = time.perf_counter()

    # What happens to a fold

    def add_evaluation(
        self, evaluation: EvaluationRecord, probabilities: Float32Array, of_average: bool = False
    ) -> None:
        """Add to the curve, and keep the weights of a new best. Sum the training loss from here on.

        Args:
            of_average: the averaged weights were judged, and the model's were not.
        """
        if not self.curve or evaluation.best > self.curve[-1].best:
            with averaged_weights(self.model, self.average) if of_average else nullcontext():  # all names of tied ones
                self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
            self.best_probabilities = torch.from_numpy(probabilities)
        self.curve.append(evaluation)
        self._start_loss()

    def count_training(self) -> None:
        """Count the time since the last count, or since `resume`, as training."""
        self.seconds_training += self._lap()

    def count_evaluating(self) -> None:
        """Count the time since the last count, or since `resume`, as evaluation."""
        self.seconds_evaluating += self._lap()

    def _lap(self) -> float:
        before, self._clock = self._clock, time.perf_counter()
        return self._clock - before

    def _start_loss(self) -> None:
        self.loss, self.loss_rows = torch.zeros((), device=self.device), 0


def stored_curve(checkpoint: Checkpoint) -> list[EvaluationRecord]:
    """The evaluations of the fold that a checkpoint is of."""
    return [EvaluationRecord.from_json(record) for record in checkpoint.state["curve"]]


_CODECS = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(FoldState, include_extras=True).items()
    if get_origin(hint) is Annotated
}
