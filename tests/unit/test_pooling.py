"""What a classifier reads: the mean of all tokens, or both entities' markers; and who may ask for it."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    FunnelConfig,
    PretrainedConfig,
    SqueezeBertConfig,
    T5Config,
)

from foldrace.studies.knobs import Hyperparameters, Pooling
from foldrace.trainer.hub import ModelError
from foldrace.trainer.modeling.classifier import ModelSource, build_model, check_source, load_classifier
from foldrace.trainer.modeling.pooling import POOLINGS, PooledClassifier, entity_starts, masked_mean

MARKERS = ((7, 8), (9,))
IDS = torch.tensor([[1, 5, 8, 5, 9, 7], [1, 9, 5, 7, 0, 0], [1, 5, 5, 8, 0, 0]])  # the last one lost its object
MASK = (IDS > 0).long()
TINY = ModelSource("tiny", 60, 3, 32)
SIZES: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
ENTITIES = ModelSource("tiny", 60, 3, 32, MARKERS)


def test_the_mean_leaves_the_padding_out() -> None:
    hidden = torch.arange(36.0).reshape(3, 6, 2)

    means = masked_mean(hidden, MASK)

    assert torch.equal(means, torch.stack([hidden[0].mean(0), hidden[1, :4].mean(0), hidden[2, :4].mean(0)]))


def test_the_first_marker_of_each_role_is_read_and_the_first_token_for_one_that_was_cut_off() -> None:
    hidden = torch.arange(36.0).reshape(3, 6, 2)

    starts = entity_starts(hidden, IDS, MARKERS)

    assert torch.equal(
        starts, torch.stack([hidden[i, [s, o]].flatten() for i, (s, o) in enumerate([(2, 4), (3, 1), (3, 0)])])
    )


@pytest.mark.parametrize(("pooling", "width"), [("mean", 128), ("entities", 256)])
def test_a_pooled_classifier_reads_what_it_says(pooling: str, width: int) -> None:
    model = build_model(ENTITIES, Hyperparameters(pooling=pooling, dropout=0.0), seed=0)

    hidden = model.base_model(IDS, attention_mask=MASK).last_hidden_state
    pooled = masked_mean(hidden, MASK) if pooling == "mean" else entity_starts(hidden, IDS, MARKERS)

    head = model.classifier
    assert head.dense.in_features == width
    expected = head.out_proj(torch.nn.functional.gelu(head.dense(pooled)))  # as ELECTRA's own
    torch.testing.assert_close(model(input_ids=IDS, attention_mask=MASK).logits, expected)


def test_every_pooling_but_the_familys_own_is_known() -> None:
    assert POOLINGS.keys() == {*get_args(Pooling)} - {"first"}


def test_without_pooling_the_model_is_the_familys_own() -> None:
    own = type(build_model(TINY, Hyperparameters(), seed=0))

    assert own.__module__.startswith("transformers.")


def test_a_saved_model_answers_the_same_and_is_an_encoder_for_everybody(tmp_path: Path) -> None:
    model = build_model(ENTITIES, Hyperparameters(pooling="entities"), seed=0).eval()
    model.save_pretrained(tmp_path)

    loaded = load_classifier(tmp_path)

    assert torch.equal(loaded(IDS, MASK).logits, model(IDS, MASK).logits)
    encoder = AutoModel.from_pretrained(tmp_path).eval()
    assert torch.equal(encoder(IDS, MASK).last_hidden_state, model.base_model(IDS, MASK).last_hidden_state)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_the_pooling_of_the_study_before_is_forgotten(pooling: str, tmp_path: Path) -> None:
    BertConfig(**SIZES, intermediate_size=32).save_pretrained(tmp_path)
    AutoModel.from_config(BertConfig(**SIZES, intermediate_size=32)).save_pretrained(tmp_path)
    source = ModelSource(str(tmp_path), 60, 3, 32, MARKERS)
    build_model(source, Hyperparameters(pooling="entities"), seed=0).save_pretrained(tmp_path / "final")
    again = ModelSource(str(tmp_path / "final"), 60, 3, 32)

    one, other = (build_model(again, Hyperparameters(pooling=pooling), seed=seed) for seed in (0, 1))

    assert isinstance(one, PooledClassifier) == (pooling == "mean")
    one.save_pretrained(tmp_path / "next")
    assert load_classifier(tmp_path / "next")(IDS, MASK).logits.shape == (3, 3)
    assert torch.equal(one.bert.encoder.layer[1].output.dense.weight, other.bert.encoder.layer[1].output.dense.weight)
    labels = [list(model.classifier.parameters())[-2] for model in (one, other)]
    assert not torch.equal(*labels)


def test_an_encoder_with_a_decoder_is_not_pooled(tmp_path: Path) -> None:
    config = T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    source = ModelSource(str(tmp_path), 60, 3, 32)

    check_source(source, Hyperparameters(pooling="first"))
    for refused in (
        lambda: check_source(source, Hyperparameters(pooling="mean")),
        lambda: build_model(source, Hyperparameters(pooling="mean"), seed=0),
    ):
        with pytest.raises(ModelError, match=r'^training\.pooling: t5 has no single last layer .* take "first"$'):
            refused()


@pytest.mark.parametrize(
    "config",
    [
        FunnelConfig(vocab_size=60, d_model=8, d_head=4, n_head=2, d_inner=8, block_sizes=[1, 1]),
        SqueezeBertConfig(**SIZES, embedding_size=16, intermediate_size=32),
    ],
)
def test_an_encoder_that_is_not_read_alone_is_not_pooled(config: PretrainedConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    message = rf'^training\.pooling: a model of type {config.model_type} cannot be pooled; take "first"$'

    with pytest.raises(ModelError, match=message):
        check_source(ModelSource(str(tmp_path), 60, 3, 32), Hyperparameters(), Hyperparameters(pooling="mean"))
