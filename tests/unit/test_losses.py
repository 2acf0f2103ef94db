"""The losses against their formulas, computed by hand."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.modeling.losses import class_weights, loss_sum

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


def smoothed_targets(smoothing: float) -> Tensor:
    return F.one_hot(LABELS, 3) * (1 - smoothing) + smoothing / 3


def test_kl_divergence_is_that_of_the_prediction_from_the_smoothed_target() -> None:
    by_torch = F.kl_div(log_probabilities(), smoothed_targets(0.3), reduction="sum")

    assert loss(loss="kl_divergence", label_smoothing=0.3) == pytest.approx(float(by_torch), rel=1e-6)
    assert loss(loss="kl_divergence") == pytest.approx(loss(), rel=1e-6)
    assert loss(smoothed_targets(0.3).log(), loss="kl_divergence", label_smoothing=0.3) == pytest.approx(0, abs=1e-6)


def test_kl_divergence_has_the_gradients_of_cross_entropy() -> None:
    gradients: list[Tensor] = []
    for kind in ("cross_entropy", "kl_divergence"):
        logits = LOGITS.clone().requires_grad_()
        knobs = Hyperparameters.model_validate({"loss": kind, "label_smoothing": 0.3})
        gradients += torch.autograd.grad(loss_sum(logits, LABELS, knobs), logits)

    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("share", "by_hand"), [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0)])
def test_a_mix_has_each_loss_by_its_share(share: float, by_hand: float) -> None:
    mixed = loss(loss_mix="focal", loss_mix_share=share)

    assert mixed == pytest.approx(by_hand * loss() + (1 - by_hand) * loss(loss="focal"), rel=1e-6)


# Class weights

COUNTS = (90, 9, 1)
TRAINED_ON = np.repeat(np.arange(3), COUNTS)


def weights(labels: Any = TRAINED_ON, classes: int = 3, **knobs: Any) -> Any:
    found = class_weights(labels, classes, Hyperparameters(**knobs))
    return None if found is None else found.numpy()


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=TRAINED_ON)

    np.testing.assert_allclose(weights(class_weights="balanced"), expected, rtol=1e-6)


def test_effective_weights_are_inverse_to_the_effective_number_of_rows() -> None:
    found = weights(class_weights="effective", class_weight_beta=0.99)

    effective = [sum(0.99**i for i in range(count)) for count in COUNTS]  # Cui et al. 2019, equation 3
    np.testing.assert_allclose(found * effective, np.full(3, found[0] * effective[0]), rtol=1e-5)
    assert np.dot(found, COUNTS) == pytest.approx(100, rel=1e-5)


@pytest.mark.parametrize(("beta", "as_with"), [(0.0, [1, 1, 1]), (0.9999999, [100 / 270, 100 / 27, 100 / 3])])
def test_beta_leads_from_no_weights_to_balanced_ones(beta: float, as_with: list[float]) -> None:
    np.testing.assert_allclose(weights(class_weights="effective", class_weight_beta=beta), as_with, rtol=1e-3)


def test_a_repeated_row_counts_as_often_as_it_is_trained_on() -> None:
    oversampled = np.concatenate([TRAINED_ON, [2] * 8])

    found = weights(oversampled, class_weights="balanced")

    assert found[2] == pytest.approx(found[1], rel=1e-6)


def test_a_class_that_is_not_trained_on_has_a_finite_weight() -> None:
    assert np.isfinite(weights(classes=5, class_weights="effective")).all()


def test_no_weights_are_the_default() -> None:
    assert weights() is None


def test_a_row_weighs_what_its_class_does_in_any_part_of_a_batch() -> None:
    knobs, each = Hyperparameters(), torch.tensor([0.5, 2.0, 9.0])
    alone = [float(loss_sum(LOGITS[i : i + 1], LABELS[i : i + 1], knobs)) for i in (0, 1)]

    assert float(loss_sum(LOGITS, LABELS, knobs, each)) == pytest.approx(0.5 * alone[0] + 2.0 * alone[1], rel=1e-6)


# Several passes

OTHER = torch.tensor([[1.0, 0.0, 0.5], [0.5, 2.0, 1.0]])


def test_a_row_with_several_passes_has_the_mean_of_its_losses() -> None:
    both = loss(torch.cat([LOGITS, OTHER]))

    assert both == pytest.approx((loss() + loss(OTHER)) / 2, rel=1e-6)


def test_r_drop_adds_the_mean_divergence_of_both_passes_in_both_directions() -> None:
    first, second = F.log_softmax(LOGITS, dim=1), F.log_softmax(OTHER, dim=1)
    divergence = F.kl_div(first, second, reduction="sum", log_target=True)
    divergence += F.kl_div(second, first, reduction="sum", log_target=True)
    passes = torch.cat([LOGITS, OTHER])

    found = loss(passes, rdrop_alpha=4.0)

    assert found == pytest.approx(loss(passes) + 4.0 * float(divergence) / 2, rel=1e-5)
    assert loss(torch.cat([LOGITS, LOGITS]), rdrop_alpha=4.0) == pytest.approx(loss(), rel=1e-6)


def test_r_drop_draws_both_passes_towards_each_other() -> None:
    passes = torch.cat([LOGITS, OTHER]).requires_grad_()
    first, second = F.log_softmax(passes, dim=1).chunk(2)
    divergence = (first.exp() * (first - second) + second.exp() * (second - first)).sum() / 2

    gradients = [
        torch.autograd.grad(loss_sum(passes, LABELS, Hyperparameters(rdrop_alpha=alpha)), passes)[0]
        for alpha in (0.0, 3.0)
    ]

    torch.testing.assert_close(gradients[1] - gradients[0], 3.0 * torch.autograd.grad(divergence, passes)[0])


def test_r_drop_compares_the_two_passes_of_each_dropout_sample() -> None:
    samples = torch.cat([LOGITS, OTHER, OTHER, OTHER])  # two samples of both rows, each with two passes

    found = loss(samples, rdrop_alpha=4.0) - loss(samples)

    passes = torch.cat([LOGITS, OTHER])
    assert found == pytest.approx((loss(passes, rdrop_alpha=4.0) - loss(passes)) / 2, rel=1e-5)


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "kl_divergence"])
def test_half_precision_logits_are_summed_in_fp32(kind: str) -> None:
    logits = LOGITS.repeat(4096, 1).to(torch.bfloat16)

    found = loss_sum(logits, LABELS.repeat(4096), Hyperparameters.model_validate({"loss": kind}))

    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(4096 * loss(loss=kind), rel=1e-5)
