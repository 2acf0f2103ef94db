"""The optimiser of a fold, in torch's fused kernels."""

from collections import defaultdict

import torch
from torch import nn
from transformers import PreTrainedModel

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.modeling.layers import parameter_depths

MOMENTS = {"adamw": 2, "sgd": 1}  # tensors of a parameter's size that an optimiser keeps, from its first step on


def make_optimizer(model: PreTrainedModel, knobs: Hyperparameters) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum. Biases and the weights of norms do not decay.

    The training loop calls `set_lr` before each step.
    """
    groups = []
    for share, parameters in _lr_shares(model, knobs.layer_lr_decay).items():
        decaying = [p for p in parameters if p.requires_grad and p.ndim > 1]
        others = [p for p in parameters if p.requires_grad and p.ndim <= 1]
        groups.append({"params": decaying, "weight_decay": knobs.weight_decay, "lr_share": share})
        groups.append({"params": others, "weight_decay": 0.0, "lr_share": share})
    if knobs.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=knobs.lr, momentum=knobs.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=knobs.lr, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Let the classifier learn at `lr`, and each layer at its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_share"]


def _lr_shares(model: PreTrainedModel, decay: float) -> dict[float, list[nn.Parameter]]:
    """The parameters by their share of the learning rate: 1 for the classifier, `decay` times as much a layer down.

    Discriminative fine-tuning (Howard and Ruder 2018, Universal Language Model Fine-tuning for Text Classification),
    with one factor for all layers as in ELECTRA (Clark et al. 2020).
    """
    if decay == 1:
        return {1.0: list(model.parameters())}
    by_depth = defaultdict(list)
    for depth, parameter in parameter_depths(model):
        by_depth[depth].append(parameter)
    top = max(by_depth)
    return {decay ** (top - depth): parameters for depth, parameters in sorted(by_depth.items())}
