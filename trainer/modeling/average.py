"""A moving average of the weights that are trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

Average = dict[str, Tensor]  # by the names that the weights have in the model


def update_average(average: Average, model: PreTrainedModel, decay: float, step: int) -> None:
    """Move the average towards the weights after optimiser step `step`, counted from 0; the first step fills it.

    An exponential moving average (Tarvainen and Valpola 2017, Mean teachers are better role models). As in their code,
    it is the mean of all steps (Polyak and Juditsky 1992) as long as that is the shorter memory: until step
    1 / (1 - decay).
    """
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    if not average:
        average |= {name: tensor.clone() for name, tensor in trained.items()}
    share = 1 - min(decay, 1 - 1 / (step + 1))
    torch._foreach_lerp_([average[name] for name in trained], list(trained.values()), share)


@contextmanager
def averaged_weights(model: PreTrainedModel, average: Average) -> Iterator[None]:
    """Within it, the model has the averaged weights, and `average` those of the last step. Nothing is copied."""
    _swap(model, average)
    try:
        yield
    finally:
        _swap(model, average)


def _swap(model: PreTrainedModel, average: Average) -> None:
    for name, parameter in model.named_parameters():
        if name in average:
            parameter.data, average[name] = average[name], parameter.data
