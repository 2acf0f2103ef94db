"""What training minimises: cross entropy with label smoothing, or its focal variant."""

import torch
import torch.nn.functional as F
from torch import Tensor

from foldrace.studies.knobs import Hyperparameters


def loss_sum(logits: Tensor, labels: Tensor, knobs: Hyperparameters) -> Tensor:
    """The loss of a batch, summed over its rows: a scalar in fp32.

    Label smoothing spreads a share of the probability mass over all labels (Szegedy et al. 2016). The focal loss is
    (1 - p)^gamma times the smoothed cross entropy, where p is the probability of the true label (Lin et al. 2017).

    Args:
        logits: (rows, classes).
        labels: (rows,), class indices.
    """
    logits = logits.float()
    if knobs.loss == "cross_entropy":
        return F.cross_entropy(logits, labels, label_smoothing=knobs.label_smoothing, reduction="sum")
    losses = F.cross_entropy(logits, labels, label_smoothing=knobs.label_smoothing, reduction="none")
    true = torch.gather(F.softmax(logits, dim=-1), 1, labels[:, None]).squeeze(1)
    modulating = (1 - true).clamp_min(torch.finfo(true.dtype).eps)  # a power below 1 has an infinite gradient at 0
    return (modulating**knobs.focal_gamma * losses).sum()
