"""What training minimises: a loss or a mix of two, weighted by class, and the divergence of R-Drop."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foldrace.studies.knobs import Hyperparameters, Loss
from foldrace.trainer.arrays import IntArray

RDROP_PASSES = 2  # of each row through the model


def loss_sum(logits: Tensor, labels: Tensor, knobs: Hyperparameters, weights: Tensor | None = None) -> Tensor:
    """The loss of a batch, summed over its rows: a scalar in fp32.

    A row that went through the model several times, or its classifier, has the mean of its losses.

    Args:
        logits: (passes * rows, classes): all rows, and then all of them again. With R-Drop, an even number of passes.
        labels: (rows,), class indices.
        weights: (classes,), from `class_weights`; None: every class weighs the same.
    """
    logits = logits.float()
    passes = len(logits) // len(labels)
    if passes == 1 and weights is None and knobs.loss == "cross_entropy" and knobs.loss_mix == "none":
        return F.cross_entropy(logits, labels, label_smoothing=knobs.label_smoothing, reduction="sum")
    labels = labels.repeat(passes)
    losses = _losses(knobs.loss, logits, labels, knobs)
    if knobs.loss_mix != "none":
        losses = torch.lerp(losses, _losses(knobs.loss_mix, logits, labels, knobs), knobs.loss_mix_share)
    if weights is not None:
        losses = losses * weights[labels]
    total = losses.sum() / passes
    return total + knobs.rdrop_alpha * _divergence_sum(logits, passes) if knobs.rdrop_alpha > 0 else total


def class_weights(labels: IntArray, classes: int, knobs: Hyperparameters) -> Tensor | None:
    """The weight of each class, (classes,), with a mean of 1 over the rows; None where all weigh the same.

    `balanced` is inverse to the rows of a class. `effective` is inverse to their effective number,
    (1 - beta^n) / (1 - beta) for n rows, so that further rows of a large class count less and less (Cui et al. 2019,
    Class-Balanced Loss Based on Effective Number of Samples; there, the weights have a mean of 1 over the classes).

    Args:
        labels: (rows,), of the training part of a fold. A row that is repeated there counts as often as it is trained
            on, so oversampling and weights do not multiply.
    """
    if knobs.class_weights == "none":
        return None
    counts, beta = np.bincount(labels, minlength=classes).clip(1), knobs.class_weight_beta
    effective = counts if knobs.class_weights == "balanced" else (1 - beta**counts) / (1 - beta)
    inverse = 1 / effective
    return torch.tensor(inverse / inverse[labels].mean(), dtype=torch.float32)


def _losses(kind: Loss, logits: Tensor, labels: Tensor, knobs: Hyperparameters) -> Tensor:
    """(rows,), the loss of each row.

    Label smoothing spreads a share of the probability mass over all labels (Szegedy et al. 2016). The focal loss is
    (1 - p)^gamma times the smoothed cross entropy, where p is the probability of the true label (Lin et al. 2017).
    The Kullback-Leibler divergence of the prediction from the smoothed target is the smoothed cross entropy less the
    target's entropy: its gradients are those of the cross entropy, and its least value is 0.
    """
    losses = F.cross_entropy(logits, labels, label_smoothing=knobs.label_smoothing, reduction="none")
    if kind == "kl_divergence":
        return losses - _target_entropy(logits.shape[1], knobs.label_smoothing)
    if kind == "focal":
        true = torch.gather(F.softmax(logits, dim=-1), 1, labels[:, None]).squeeze(1)
        modulating = (1 - true).clamp_min(torch.finfo(true.dtype).eps)  # a power below 1 has an infinite gradient at 0
        return modulating**knobs.focal_gamma * losses
    return losses


def _target_entropy(classes: int, smoothing: float) -> float:
    """The entropy of a smoothed target, in nats."""
    other = smoothing / classes
    shares = [1 - smoothing + other] + (classes - 1) * [other]
    return -sum(share * math.log(share) for share in shares if share > 0)


def _divergence_sum(logits: Tensor, passes: int) -> Tensor:
    """The mean of both Kullback-Leibler divergences between a row's two passes, summed over the rows.

    Liang et al. 2021, R-Drop: Regularized Dropout for Neural Networks. As in their code, the task's loss is the mean
    of the two passes.
    """
    logs = F.log_softmax(logits, dim=-1).view(passes // RDROP_PASSES, RDROP_PASSES, -1, logits.shape[1])
    first, second = logs.unbind(dim=1)
    both = (first.exp() - second.exp()) * (first - second)  # the sum of the two divergences
    return both.sum() / 2 / len(logs)
