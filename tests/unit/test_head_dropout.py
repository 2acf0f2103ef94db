"""Several dropout masks of the classifier: the encoder is computed once, each mask gives logits of its own."""

from typing import Any

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    XLNetConfig,
)

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.hub import ModelError
from foldrace.trainer.modeling.head_dropout import refuse_missing_dropout, sampled_logits
from foldrace.trainer.modeling.shortcuts import apply_shortcuts

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 4,
}
FAMILIES: dict[str, PretrainedConfig] = {
    "electra": ElectraConfig(**SIZES, embedding_size=8),
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES),
    "albert": AlbertConfig(**SIZES, embedding_size=8, classifier_dropout_prob=0.1),
    "deberta_v2": DebertaV2Config(**SIZES),
    "distilbert": DistilBertConfig(vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=32, num_labels=4),
    "xlnet": XLNetConfig(vocab_size=60, d_model=16, n_layer=2, n_head=2, d_inner=32, num_labels=4),
}
GPT2 = GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2, num_labels=4, pad_token_id=0)
MASK = (torch.arange(8) < torch.tensor([[8], [5], [6]])).long()
BATCH = {"input_ids": torch.randint(3, 60, MASK.shape, generator=torch.Generator().manual_seed(0)) * MASK}
BATCH["attention_mask"] = MASK


def classifier(config: PretrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    return apply_shortcuts(model, torch.device("cpu")).train()


def with_dropout(model: PreTrainedModel, p: float, of_encoder: bool) -> PreTrainedModel:
    """The model with a dropout of `p` in its encoder or in its classifier, and none elsewhere."""
    encoder = set(model.base_model.modules())
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = p if (module in encoder) is of_encoder else 0.0
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_each_sample_has_a_mask_of_its_own_over_one_encoding(family: str) -> None:
    model = with_dropout(classifier(FAMILIES[family]), 0.5, of_encoder=False)
    refuse_missing_dropout(model, Hyperparameters(dropout_samples=3))
    calls: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda *_: calls.append(1))

    logits = sampled_logits(model, BATCH, 3).view(3, 3, 4)

    assert len(calls) == 1
    assert not torch.allclose(logits[0], logits[1])
    assert not torch.allclose(logits[1], logits[2])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_samples_of_a_row_share_the_dropout_of_the_encoder(family: str) -> None:
    model = with_dropout(classifier(FAMILIES[family]), 0.5, of_encoder=True)

    logits = sampled_logits(model, BATCH, 2).view(2, 3, 4)
    again = sampled_logits(model, BATCH, 1)

    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], again)


def test_the_gradient_is_the_mean_over_the_samples() -> None:
    model = with_dropout(classifier(FAMILIES["electra"]), 0.0, of_encoder=False)
    gradients = []
    for samples in (1, 4):
        model.zero_grad()
        (sampled_logits(model, BATCH, samples).square().sum() / samples).backward()  # type: ignore[no-untyped-call]
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})

    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_the_encoder_is_computed_again_after_an_error() -> None:
    model = classifier(FAMILIES["electra"])
    refusal = model.classifier.register_forward_pre_hook(run_out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        sampled_logits(model, BATCH, 2)
    refusal.remove()

    one, other = (sampled_logits(model.eval(), {**BATCH, "input_ids": ids}, 1) for ids in (BATCH["input_ids"], MASK))

    assert not torch.allclose(one, other)


def run_out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("no room")


def test_a_classifier_without_dropout_is_refused_in_one_line() -> None:
    message = r"^training\.dropout_samples: the classifier of a model of type gpt2 has no dropout; leave it out$"

    with pytest.raises(ModelError, match=message):
        refuse_missing_dropout(classifier(GPT2), Hyperparameters(dropout_samples=2))
    refuse_missing_dropout(classifier(GPT2), Hyperparameters())
