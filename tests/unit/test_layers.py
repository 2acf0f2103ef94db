"""The layers of encoders of many families: found, frozen, drawn anew, and trained at their own rates."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BigBirdConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    FunnelConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    XLMConfig,
    XLNetConfig,
)

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.hub import ModelError
from foldrace.trainer.modeling.classifier import ModelSource, build_model, check_source
from foldrace.trainer.modeling.layers import change_layers, find_layers, parameter_depths
from foldrace.trainer.modeling.optimizer import make_optimizer, set_lr
from foldrace.trainer.modeling.shortcuts import apply_shortcuts

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 4,
}
RELATIVE = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c"], "norm_rel_ebd": "layer_norm"}
FAMILIES: dict[str, PretrainedConfig] = {
    "electra": ElectraConfig(**SIZES, embedding_size=8),
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES),
    "big_bird": BigBirdConfig(**SIZES, attention_type="original_full"),
    "deberta_v2": DebertaV2Config(**SIZES, **RELATIVE, share_att_key=True),
    "distilbert": DistilBertConfig(vocab_size=60, dim=16, n_layers=3, n_heads=2, hidden_dim=32, num_labels=4),
    "xlnet": XLNetConfig(vocab_size=60, d_model=16, n_layer=3, n_head=2, d_inner=32, num_labels=4),
    "modernbert": ModernBertConfig(**SIZES, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1),
    "gpt2": GPT2Config(vocab_size=60, n_embd=16, n_layer=3, n_head=2, num_labels=4, pad_token_id=0),
    "llama": LlamaConfig(**SIZES, pad_token_id=0),
}
WITHOUT_LAYERS: dict[str, PretrainedConfig] = {
    "albert": AlbertConfig(**SIZES, embedding_size=8),
    "funnel": FunnelConfig(vocab_size=60, d_model=16, block_sizes=[2, 2], n_head=2, d_head=8, d_inner=32, num_labels=4),
    "xlm": XLMConfig(vocab_size=60, emb_dim=16, n_layers=3, n_heads=2, num_labels=4),
}
TINY = ModelSource("tiny", 60, 4, 32)


def classifier(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config((FAMILIES | WITHOUT_LAYERS)[family])
    return model


def depths(model: PreTrainedModel) -> dict[str, int]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: depth for depth, parameter in parameter_depths(model)}


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.named_parameters()}


# Where a parameter is


@pytest.mark.parametrize("family", FAMILIES)
def test_each_parameter_of_a_family_has_its_depth(family: str) -> None:
    model = classifier(family)

    found = depths(model)

    layers = find_layers(model)
    assert layers is not None
    assert len(layers) == 3
    assert found.keys() == dict(model.named_parameters()).keys()
    for i, layer in enumerate(layers, 1):
        own = set(layer.parameters())
        assert {found[name] for name, p in model.named_parameters() if p in own} == {i}
    encoder = f"{model.base_model_prefix}."
    assert {depth for name, depth in found.items() if not name.startswith(encoder)} == {4}
    embeddings = [n for n, p in model.named_parameters() if p is model.get_input_embeddings().weight]
    assert [found[name] for name in embeddings] == [0]


@pytest.mark.parametrize(
    ("family", "below", "above"),
    [
        ("electra", ["electra.embeddings.LayerNorm.weight", "electra.embeddings_project.weight"], []),
        ("bert", ["bert.embeddings.position_embeddings.weight"], ["bert.pooler.dense.weight"]),
        ("deberta_v2", ["deberta.encoder.rel_embeddings.weight"], ["pooler.dense.weight"]),
        ("xlnet", ["transformer.mask_emb"], ["sequence_summary.summary.weight"]),
        ("gpt2", ["transformer.wpe.weight"], ["transformer.ln_f.weight", "score.weight"]),
        ("llama", [], ["model.norm.weight"]),
    ],
)
def test_what_is_in_no_layer_is_below_or_above_them(family: str, below: list[str], above: list[str]) -> None:
    found = depths(classifier(family))

    assert [found[name] for name in below] == [0] * len(below)
    assert [found[name] for name in above] == [4] * len(above)


# Learning rates


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_each_layer_learns_at_a_share_of_the_rate_of_the_one_above(optimizer: str) -> None:
    knobs = Hyperparameters.model_validate({"optimizer": optimizer, "layer_lr_decay": 0.5, "weight_decay": 0.1})
    model = apply_shortcuts(build_model(TINY, knobs, seed=0), torch.device("cpu"))
    made = make_optimizer(model, knobs)

    set_lr(made, 8e-4)

    rates = {p: group["lr"] for group in made.param_groups for p in group["params"]}
    decays = {p: group["weight_decay"] for group in made.param_groups for p in group["params"]}
    assert {depth: rates[p] for depth, p in parameter_depths(model)} == {0: 1e-4, 1: 2e-4, 2: 4e-4, 3: 8e-4}
    assert all(decays[p] == (0.1 if p.ndim > 1 else 0.0) for p in model.parameters())


def test_without_decay_an_optimiser_has_the_two_groups_that_stored_checkpoints_know() -> None:
    model = build_model(TINY, Hyperparameters(), seed=0)

    decaying, others = make_optimizer(model, Hyperparameters()).param_groups

    assert decaying["params"] == [p for p in model.parameters() if p.ndim > 1]
    assert others["params"] == [p for p in model.parameters() if p.ndim <= 1]


# Frozen, and drawn anew


@pytest.mark.parametrize(("freeze", "frozen"), [(1, {0}), (2, {0, 1}), (4, {0, 1, 2, 3})])
def test_freeze_counts_the_embeddings_and_then_the_lowest_layers(freeze: int, frozen: set[int]) -> None:
    model = classifier("roberta")

    change_layers(model, Hyperparameters(freeze=freeze), seed=0)

    assert {depth for depth, p in parameter_depths(model) if not p.requires_grad} == frozen
    assert {depth for depth, p in parameter_depths(model) if p.requires_grad} == {0, 1, 2, 3, 4} - frozen


@pytest.mark.parametrize("family", FAMILIES)
def test_the_top_layers_of_a_loaded_encoder_are_drawn_anew(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = AutoModel.from_config(FAMILIES[family])
    for parameter in encoder.parameters():
        torch.nn.init.constant_(parameter, 0.5)  # a trained weight
    encoder.save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=4)

    change_layers(model, Hyperparameters(reinit_layers=2), seed=7)

    is_kept = {name: bool((p == 0.5).all()) for name, p in model.named_parameters()}
    pooler = f"{model.base_model_prefix}.pooler."
    for name, depth in depths(model).items():
        if name.startswith(model.base_model_prefix + "."):
            assert is_kept[name] == (depth not in (2, 3) and not name.startswith(pooler)), name


def test_new_layers_are_drawn_as_those_of_a_new_model() -> None:
    model = build_model(TINY, Hyperparameters(), seed=0)
    top = "electra.encoder.layer.1."
    for parameter in model.electra.encoder.layer[1].parameters():
        torch.nn.init.constant_(parameter, 0.5)

    change_layers(model, Hyperparameters(reinit_layers=1), seed=7)

    new = {name.removeprefix(top): p for name, p in model.named_parameters() if name.startswith(top)}
    assert new["attention.self.query.weight"].std().item() == pytest.approx(model.config.initializer_range, rel=0.05)
    assert not new["attention.self.query.bias"].any()
    assert (new["output.LayerNorm.weight"] == 1).all()


def test_new_layers_depend_on_the_seed_alone() -> None:
    drawn = []
    for seed, disturbance in [(7, 1), (7, 2), (8, 1)]:
        model = build_model(TINY, Hyperparameters(), seed=0)
        torch.rand(disturbance)
        change_layers(model, Hyperparameters(reinit_layers=1), seed)
        drawn.append(model.electra.encoder.layer[1].intermediate.dense.weight)

    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


# What is refused


@pytest.mark.parametrize("family", WITHOUT_LAYERS)
@pytest.mark.parametrize("knobs", [{"layer_lr_decay": 0.9}, {"reinit_layers": 1}, {"freeze": 1}])
def test_a_family_without_a_list_of_layers_is_refused_in_one_line(family: str, knobs: dict[str, Any]) -> None:
    kind = WITHOUT_LAYERS[family].model_type
    message = rf"^training\.{next(iter(knobs))}: a model of type {kind} has no single list of layers; leave it out$"

    with pytest.raises(ModelError, match=message):
        change_layers(classifier(family), Hyperparameters(**knobs), seed=0)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"reinit_layers": 3}, r"^training\.reinit_layers: 3, the model has 2 layers; ask for fewer$"),
        ({"freeze": 4}, r"^training\.freeze: 4 is too much; 3 freezes the embeddings and all 2 layers of the model$"),
        (
            {"freeze": 2, "reinit_layers": 2},
            r"^training\.freeze: freeze = 2 and reinit_layers = 2 would freeze new weights, of 2 layers; ask for",
        ),
    ],
)
def test_more_layers_than_there_are_are_refused_before_the_weights_are_read(knobs: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_source(TINY, Hyperparameters(), Hyperparameters(**knobs))


@pytest.mark.parametrize("family", WITHOUT_LAYERS)
def test_a_family_without_a_list_of_layers_trains_as_ever(family: str) -> None:
    model = classifier(family)
    before = weights(model)

    change_layers(model, Hyperparameters(), seed=0)

    assert all(torch.equal(before[name], p) and p.requires_grad for name, p in model.named_parameters())
