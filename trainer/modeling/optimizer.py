"""The optimiser of a fold, in torch's fused kernels."""

import torch
from transformers import PreTrainedModel

from foldrace.studies.knobs import Hyperparameters

MOMENTS = {"adamw": 2, "sgd": 1}  # tensors of a parameter's size that an optimiser keeps, from its first step on


def make_optimizer(model: PreTrainedModel, knobs: Hyperparameters) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum. Biases and the weights of norms do not decay.

    The training loop sets the learning rate before each step.
    """
    decaying = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": knobs.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if knobs.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=knobs.lr, momentum=knobs.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=knobs.lr, fused=True)
