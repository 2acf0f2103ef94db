"""The moving average of the weights against its definition."""

import pytest
import torch
from transformers import PreTrainedModel

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.modeling.average import Average, averaged_weights, update_average
from foldrace.trainer.modeling.classifier import ModelSource, build_model

BIAS = "classifier.out_proj.bias"


def small_model() -> PreTrainedModel:
    return build_model(ModelSource("tiny", 8, 2, 8), Hyperparameters(), seed=0)


def follow(decay: float, values: list[float]) -> list[float]:
    """The averages of a weight that has one value after another."""
    model, average = small_model(), Average()
    found = []
    for step, value in enumerate(values):
        torch.nn.init.constant_(model.get_parameter(BIAS), value)
        update_average(average, model, decay, step)
        found.append(average[BIAS][0].item())
    return found


def test_the_average_is_the_mean_while_that_has_the_shorter_memory() -> None:
    assert follow(0.99, [3.0, 1.0, 2.0, 6.0]) == pytest.approx([3.0, 2.0, 2.0, 3.0])


def test_later_the_average_forgets_exponentially() -> None:
    found = follow(0.75, [1.0] * 4 + [0.0] * 3)

    assert found[4:] == pytest.approx([0.75, 0.75**2, 0.75**3])


def test_a_model_has_the_averaged_weights_for_a_while_and_then_its_own_to_the_bit() -> None:
    model, average = small_model(), Average()
    update_average(average, model, 0.9, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    own = {name: p.detach().clone() for name, p in model.named_parameters()}
    update_average(average, model, 0.9, 1)
    means = {name: tensor.clone() for name, tensor in average.items()}

    with averaged_weights(model, average):
        within = {name: p.detach().clone() for name, p in model.named_parameters()}

    assert own.keys() == means.keys()
    assert all(torch.equal(within[name], means[name]) for name in means)
    assert all(torch.equal(p, own[name]) for name, p in model.named_parameters())
    assert all(torch.equal(average[name], means[name]) for name in means)


def test_weights_that_are_not_trained_are_not_kept() -> None:
    model, average = small_model(), Average()
    model.electra.embeddings.requires_grad_(False)

    update_average(average, model, 0.9, 0)

    assert not any("embeddings." in name for name in average)
    assert BIAS in average
