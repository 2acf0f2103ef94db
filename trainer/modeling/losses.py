"""What training minimises: cross entropy with label smoothing, or its focal variant."""

import torch
import torch.nn.functional as F
from torch import Tensor

from foldrace.studies.knobs import Hyperparameters


def loss_sum(logits: Tensor, labels: Tensor, knobs: Hyperparameters) -> Tensor:
    """The loss of a batch, summed over its rows, in fp32; a scalar.

    Label smoothing after Szegedy et al. 2016 (a share of the probability mass is spread over all labels); the focal
    loss after Lin et al. 2017, (1 - p)^gamma times the smoothed cross entropy, p the probability of the true label.

    Args:
        logits: (rows, classes).
        labels: (rows,), class indices.
    """
    logits = logits.float()
    if knobs.loss == "cross_entropy":
        return F.cross_entropy(logits, labels, label_smoothing=knobs.label_smoothing, reduction="sum")
    losses = F.cross_entropy(logits, labels, label_smoothing=knobs.label_smoothing, reduction="none")
    true = torch.gather(F.softmax(logits, dim=-1), 1, labels[:, None]).squeeze(1)
    doubt = (1 - true).clamp_min(torch.finfo(true.dtype).eps)  # at 0 a power below 1 has an infinite gradient
    return (doubt**knobs.focal_gamma * losses).sum()
