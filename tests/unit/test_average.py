"""The moving average of the weights against its definition."""

import numpy as np
import pytest
import torch
from transformers import BartConfig, BartForSequenceClassification, PreTrainedModel

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.modeling.average import Average, averaged_weights, update_average
from foldrace.trainer.modeling.classifier import ModelSource, build_model
from foldrace.trainer.training.state import FoldState

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


def test_the_best_weights_are_those_that_were_judged_under_each_name_of_a_tied_one() -> None:
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    model = BartForSequenceClassification(BartConfig(vocab_size=8, d_model=8, max_position_embeddings=8, **sizes))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state = FoldState(model, optimizer, torch.device("cpu"), micro_batch=1)
    state.average = {name: p.detach() + 1 for name, p in model.named_parameters()}
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    record = EvaluationRecord(index=0, step=1, epoch=1.0, cycle_end=True, lr=0.1, train_loss=0.0, best=0.5)

    state.add_evaluation(record, np.zeros((1, 2), dtype=np.float32), of_average=True)

    tied = [name for name in own if name.endswith(("shared.weight", "embed_tokens.weight"))]
    assert len(tied) == 3
    assert all(torch.equal(state.best[name], own[name] + 1) for name in tied)
    assert all(torch.equal(model.state_dict()[name], own[name]) for name in own)
