"""The losses against their formulas, computed by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.modeling.losses import loss_sum

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]])
LABELS = torch.tensor([0, 1])


def loss(logits: Tensor = LOGITS, labels: Tensor = LABELS, **knobs: Any) -> float:
    return float(loss_sum(logits, labels, Hyperparameters(**knobs)))


def log_probabilities() -> Tensor:
    return LOGITS - LOGITS.exp().sum(dim=1, keepdim=True).log()


def test_cross_entropy_is_summed_over_the_rows() -> None:
    by_hand = -(log_probabilities()[0, 0] + log_probabilities()[1, 1])

    assert loss() == pytest.approx(float(by_hand), rel=1e-6)


def test_label_smoothing_spreads_its_mass_over_all_labels() -> None:
    target = torch.full((2, 3), 0.3 / 3)
    target[0, 0] += 0.7
    target[1, 1] += 0.7
    by_hand = -(target * log_probabilities()).sum()

    assert loss(label_smoothing=0.3) == pytest.approx(float(by_hand), rel=1e-6)


def test_focal_loss_weighs_a_row_by_its_doubt() -> None:
    true = log_probabilities()[[0, 1], [0, 1]]
    by_hand = ((1 - true.exp()) ** 1.5 * -true).sum()

    assert loss(loss="focal", focal_gamma=1.5) == pytest.approx(float(by_hand), rel=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_focal_loss_with_gamma_zero_is_cross_entropy(label_smoothing: float) -> None:
    focal = loss(loss="focal", focal_gamma=0.0, label_smoothing=label_smoothing)

    assert focal == pytest.approx(loss(label_smoothing=label_smoothing), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_of_a_certain_row_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)

    loss_sum(logits, torch.tensor([0]), Hyperparameters(loss="focal", focal_gamma=gamma)).backward()  # type: ignore[no-untyped-call]

    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_half_precision_logits_are_summed_in_fp32(kind: str) -> None:
    logits = LOGITS.repeat(4096, 1).to(torch.bfloat16)

    found = loss_sum(logits, LABELS.repeat(4096), Hyperparameters.model_validate({"loss": kind}))

    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(4096 * loss(loss=kind), rel=1e-5)
