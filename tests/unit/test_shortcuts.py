"""The shortcuts give what the model gives without them."""

import copy
import math
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from foldrace.studies.knobs import Hyperparameters, Pooling
from foldrace.trainer.modeling.pooling import pooled_class, set_pooling
from foldrace.trainer.modeling.shortcuts import (
    CpuDropout,
    FirstTokenLayer,
    apply_shortcuts,
    cpu_attention,
    cpu_dropout,
    is_capturable,
)

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_labels": 3,
}
MODELS = {
    "electra": lambda: ElectraForSequenceClassification(ElectraConfig(embedding_size=16, **SIZES)),
    "bert": lambda: BertForSequenceClassification(BertConfig(**SIZES)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**SIZES)),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=4, hidden_dim=64, num_labels=3)
    ),
}


def pooled(config: PretrainedConfig, pooling: Pooling) -> PreTrainedModel:
    set_pooling(config, pooling, 0.0, ((7, 8), (9,)))
    kind = pooled_class(config)
    assert kind is not None
    return kind(config)


MODELS |= {
    "electra, mean": lambda: pooled(ElectraConfig(embedding_size=16, **SIZES), "mean"),
    "roberta, entities": lambda: pooled(RobertaConfig(**SIZES), "entities"),
}
MODEL = pytest.mark.parametrize("model", MODELS)


def pair(name: str) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A model, and a copy of it with the shortcuts; both without dropout."""
    torch.manual_seed(0)
    plain = MODELS[name]()
    for module in plain.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return plain.train(), apply_shortcuts(copy.deepcopy(plain), CPU).train()


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(12) < torch.tensor([[12], [7], [1], [9]])).long()
    return {"input_ids": torch.randint(3, 50, mask.shape, generator=generator) * mask, "attention_mask": mask}


@MODEL
def test_logits_and_gradients_are_those_of_the_model(model: str) -> None:
    plain, short = pair(model)

    outputs = [m(**batch()).logits for m in (plain, short)]
    for output in outputs:
        output.square().sum().backward()

    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
    gradients = {name: p.grad for name, p in short.named_parameters()}
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-4, rtol=1e-4)


@MODEL
def test_weights_keep_their_names(model: str) -> None:
    plain, short = pair(model)

    assert list(plain.state_dict()) == list(short.state_dict())
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in short.named_parameters()]


def test_the_last_layer_of_an_electra_is_computed_for_one_token() -> None:
    _, short = pair("electra")

    assert short.base_model(**batch()).last_hidden_state.shape == (4, 1, 32)


def test_the_last_layer_of_a_pooled_electra_is_computed_for_all_tokens() -> None:
    _, short = pair("electra, mean")

    assert short.base_model(**batch()).last_hidden_state.shape == (4, 12, 32)
    assert any(isinstance(module, CpuDropout) for module in short.modules())


@MODEL
def test_an_encoder_whose_mask_is_widened_is_capturable(model: str) -> None:
    built = apply_shortcuts(MODELS[model](), torch.device("cuda"))

    assert is_capturable(built) == (model != "distilbert")


def test_a_model_that_computes_layers_twice_or_attends_its_own_way_is_not_capturable() -> None:
    for setting in ({"gradient_checkpointing": True}, {"attn_implementation": "eager"}):  # as a config.json may say
        built = apply_shortcuts(BertForSequenceClassification(BertConfig(**SIZES, **setting)), torch.device("cuda"))

        assert not is_capturable(built)


def test_another_kind_of_model_keeps_its_layers() -> None:
    _, short = pair("distilbert")

    assert not any(isinstance(module, FirstTokenLayer) for module in short.modules())
    assert any(isinstance(module, CpuDropout) for module in short.modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_scales_the_rest(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)

    dropped = cpu_dropout(torch.ones(999, 1001, dtype=dtype), p)

    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=0.002)
    assert dropped.max().item() == pytest.approx(1 / (1 - p), rel=0.004)


@pytest.mark.parametrize("p", [5e-324, 1e-7, 0.99999, 0.9999924, math.nextafter(1, 0)])
def test_a_dropout_next_to_its_bounds_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)

    dropped = cpu_dropout(torch.ones(2048, 2048), Hyperparameters(dropout=p).dropout)

    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=1e-4)
    assert dropped.mean().item() == pytest.approx(1, abs=0.4)


def test_a_dropout_of_one_leaves_nothing_as_in_torch() -> None:
    x = torch.randn(7, 13, requires_grad=True)

    dropped = cpu_dropout(x, 1.0)
    (gradient,) = torch.autograd.grad(dropped.sum(), x)

    assert torch.equal(dropped, torch.nn.functional.dropout(x, 1.0))
    assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_a_dropout_that_is_no_probability_is_refused_as_in_torch(p: float) -> None:
    with pytest.raises(ValueError, match=f"dropout probability has to be between 0 and 1, but got {p}"):
        cpu_dropout(torch.ones(3), p)


def test_dropout_is_independent_from_element_to_element() -> None:
    torch.manual_seed(0)

    kept = (cpu_dropout(torch.ones(1_000_000), 0.3) != 0).float() - 0.7

    for lag in (1, 2, 3, 4, 8, 1000):
        assert abs((kept[lag:] * kept[:-lag]).mean().item()) < 0.001


def test_dropout_is_drawn_from_torchs_generator() -> None:
    x = torch.randn(7, 13)
    torch.manual_seed(5)
    state = torch.get_rng_state()

    first, second = cpu_dropout(x, 0.4), cpu_dropout(x, 0.4)
    torch.set_rng_state(state)

    assert torch.equal(cpu_dropout(x, 0.4), first)
    assert not torch.equal(first, second)


def test_the_gradient_goes_where_the_value_went() -> None:
    x = torch.randn(50, 50, requires_grad=True)

    dropped = cpu_dropout(x, 0.25)
    (gradient,) = torch.autograd.grad(dropped.sum(), x)

    torch.testing.assert_close(dropped, x * gradient)


def test_dropout_does_nothing_in_evaluation() -> None:
    x = torch.randn(5)

    assert torch.equal(CpuDropout(0.5).eval()(x), x)


@pytest.mark.parametrize("queries", [1, 9])
def test_attention_is_torchs(queries: int) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(4, 2, queries, 8), torch.randn(4, 2, 9, 8), torch.randn(4, 2, 9, 8)
    mask = (torch.arange(9) < torch.tensor([[9], [1], [4], [6]]))[:, None, None]

    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)

    torch.testing.assert_close(cpu_attention(query, key, value, mask, 0.0), expected)
