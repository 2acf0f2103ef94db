"""A sequence classifier with the dropout of a trial: `tiny`, built here, or an encoder from the hub or a folder."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from foldrace.studies.knobs import DEFAULTS, Hyperparameters
from foldrace.studies.study import TINY
from foldrace.trainer.data.batching import padded_length
from foldrace.trainer.hub import ModelError, load_failure, load_pretrained
from foldrace.trainer.modeling.head_dropout import refuse_missing_dropout
from foldrace.trainer.modeling.layers import refuse_missing_layers

_TINY_WIDTH = 128
# The standard deviation of new weights. BERT's 0.02 is made for units with 768 inputs. With 128 inputs, so little gets
# through that the first token, which the classifier reads, hardly depends on the sentence. Training would then predict
# the majority class for epochs.
_TINY_DEVIATION = 0.02 * (768 / _TINY_WIDTH) ** 0.5

# The names that configurations have for the dropout of hidden, attention and classifier layers.
_DROPOUT_NAMES = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "classifier_dropout_prob",
    "pooler_dropout",
    "dropout",
    "attention_dropout",
    "hidden_dropout",
    "seq_classif_dropout",
    "embedding_dropout",
    "mlp_dropout",
)


@dataclass(frozen=True)
class ModelSource:
    """What the model of a fold is built from.

    Attributes:
        name: a name on the hub, a folder, or `tiny`.
        vocabulary: pieces of the tokenizer.
        max_length: tokens of the longest input.
    """

    name: str
    vocabulary: int
    classes: int
    max_length: int


def build_model(source: ModelSource, knobs: Hyperparameters, seed: int) -> PreTrainedModel:
    """A classifier in training mode, in fp32 on the CPU. New weights depend on `seed` alone.

    Raises:
        ModelError: there is no such model, or it cannot do what is asked.
    """
    config = _configuration(source)
    for name in _DROPOUT_NAMES:
        if hasattr(config, name) and isinstance(getattr(config, name), float | int | None):
            setattr(config, name, knobs.dropout)
    torch.manual_seed(seed)
    model = ElectraForSequenceClassification(config) if source.name == TINY else _load(source, config)
    _check_length(source, model)
    if model.get_input_embeddings().num_embeddings < source.vocabulary:
        model.resize_token_embeddings(source.vocabulary, mean_resizing=False)
    if knobs.gradient_checkpointing:
        if not model.supports_gradient_checkpointing:
            raise ModelError(f"training.gradient_checkpointing: {source.name} is not made for it; leave it out")
        # transformers 5.23 has it under a new name, and warns of the old one.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    return model.train()


def check_source(source: ModelSource, knobs: Hyperparameters = DEFAULTS) -> None:
    """Check that the model exists, reads `max_length` tokens and has the parts that knobs change.

    It does not read its weights.

    Raises:
        ModelError: it does not.
    """
    skeleton = _skeleton(source)
    _check_length(source, skeleton)
    refuse_missing_layers(skeleton, knobs)
    refuse_missing_dropout(skeleton, knobs)


def longest_input(source: ModelSource) -> int | None:
    """The tokens of the longest input that the model reads, whatever `max_length` is; None when it reads any.

    Raises:
        ModelError: there is no such model.
    """
    return _positions(_skeleton(source))


def _skeleton(source: ModelSource) -> PreTrainedModel:
    """The model without its weights."""
    config = _configuration(source)
    try:
        with torch.device("meta"):
            return AutoModelForSequenceClassification.from_config(config)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(load_failure(source.name, "sequence classifier", error)) from error


def _configuration(source: ModelSource) -> PretrainedConfig:
    if source.name != TINY:
        return load_pretrained(AutoConfig, source.name, "model", num_labels=source.classes)
    return ElectraConfig(
        vocab_size=source.vocabulary,
        embedding_size=_TINY_WIDTH,
        hidden_size=_TINY_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=4 * _TINY_WIDTH,
        initializer_range=_TINY_DEVIATION,
        max_position_embeddings=max(512, padded_length(source.max_length)),
        num_labels=source.classes,
    )


def _check_length(source: ModelSource, model: PreTrainedModel) -> None:
    positions = _positions(model)
    widest = padded_length(source.max_length)
    if positions is not None and widest > positions:
        raise ModelError(
            f"model.max_length: {source.max_length}, padded to {widest}, is above the {positions} positions of "
            f"{source.name}; ask for fewer"
        )


def _positions(model: PreTrainedModel) -> int | None:
    """The tokens of the longest input that the model reads; None when it reads any.

    RoBERTa counts its positions from behind the number of its padding token.
    """
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return getattr(model.config, "max_position_embeddings", None)


def _load(source: ModelSource, config: PretrainedConfig) -> PreTrainedModel:
    model, report = load_pretrained(
        AutoModelForSequenceClassification,
        source.name,
        "model",
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # the classifier may be of another task; _check_weights refuses all else
        output_loading_info=True,
    )
    _check_weights(source, model, report)
    return model


def _check_weights(source: ModelSource, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Raise ModelError when weights of the encoder are missing or have another shape than the configuration says.

    The classifier may be new, and so may parts that not every checkpoint has, as a pooler. A numbered layer may not.
    """
    encoder = {name for name in model.state_dict() if name.startswith(f"{model.base_model_prefix}.")}
    missing = encoder & set(report["missing_keys"])
    misshapen = encoder & {name for name, *_ in report["mismatched_keys"]}
    of_layers = any(re.search(r"\.\d+\.", name) for name in missing)
    if misshapen or of_layers or len(missing) > len(encoder) / 2:
        found = f"{len(missing)} of {len(encoder)} tensors are missing, {len(misshapen)} have another shape"
        raise ModelError(f"model.name: the weights of {source.name} do not fit its config.json: {found}")
