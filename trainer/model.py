"""A sequence classifier with the trial's dropout: `tiny`, built here, or any encoder from the hub or a folder."""

from dataclasses import dataclass

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from studies.knobs import Hyperparameters
from trainer.tokenizer import TINY, ModelError, unloadable

# What configurations call the dropout of hidden, attention and classifier layers.
_DROPOUT_NAMES = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "dropout",
    "attention_dropout",
    "hidden_dropout",
    "seq_classif_dropout",
    "embedding_dropout",
    "mlp_dropout",
)


@dataclass(frozen=True)
class ModelSource:
    """What a fold's model is built from: a name on the hub, a folder or `tiny`; pieces, classes, longest input."""

    name: str
    vocabulary: int
    classes: int
    max_length: int


def build_model(source: ModelSource, knobs: Hyperparameters, seed: int) -> PreTrainedModel:
    """A classifier in training mode, in fp32 on the CPU; new weights are drawn from `seed` alone.

    Raises:
        ModelError: no such model, or one that cannot read `max_length` tokens.
    """
    config = _configuration(source)
    _check_length(source, config)
    for name in _DROPOUT_NAMES:
        if hasattr(config, name) and isinstance(getattr(config, name), float | int | None):
            setattr(config, name, knobs.dropout)
    torch.manual_seed(seed)
    model = _load(source, config)
    if model.get_input_embeddings().num_embeddings != source.vocabulary:
        model.resize_token_embeddings(source.vocabulary, mean_resizing=False)
    if knobs.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def _configuration(source: ModelSource) -> PretrainedConfig:
    if source.name == TINY:
        return ElectraConfig(
            vocab_size=source.vocabulary,
            embedding_size=128,
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=512,
            max_position_embeddings=max(512, source.max_length),
            num_labels=source.classes,
        )
    try:
        return AutoConfig.from_pretrained(source.name, num_labels=source.classes)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(unloadable(source.name, "model", error)) from error


def _check_length(source: ModelSource, config: PretrainedConfig) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and source.max_length > positions:
        raise ModelError(
            f"model.max_length: {source.max_length} is above the {positions} positions of {source.name}; ask for fewer"
        )


def _load(source: ModelSource, config: PretrainedConfig) -> PreTrainedModel:
    if source.name == TINY:
        return ElectraForSequenceClassification(config)
    try:
        model = AutoModelForSequenceClassification.from_pretrained(source.name, config=config, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(unloadable(source.name, "model", error)) from error
    if not isinstance(model, PreTrainedModel):
        raise ModelError(unloadable(source.name, "model", TypeError("not a sequence classifier")))
    return model
