"""A sequence classifier with the dropout of a trial: `tiny`, built here, or a model from the hub or a folder."""

import re
from dataclasses import dataclass
from pathlib import Path
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
    XLNetForSequenceClassification,
)

from foldrace.studies.knobs import Hyperparameters
from foldrace.studies.sections import TINY
from foldrace.trainer.data.batching import padded_length
from foldrace.trainer.hub import ModelError, load_failure, load_pretrained
from foldrace.trainer.modeling.adversary import refuse_two_embeddings
from foldrace.trainer.modeling.head_dropout import refuse_missing_dropout
from foldrace.trainer.modeling.layers import refuse_missing_layers
from foldrace.trainer.modeling.pooling import Markers, PooledClassifier, pooled_class, set_pooling

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
    "embd_pdrop",
    "resid_pdrop",
    "attn_pdrop",
    "summary_last_dropout",
)


@dataclass(frozen=True)
class ModelSource:
    """What the model of a fold is built from.

    Attributes:
        name: a name on the hub, a folder, or `tiny`.
        vocabulary: pieces of the tokenizer.
        max_length: tokens of the longest input.
        markers: the ids of the tokens before a subject, and of those before an object, where they are pooled.
    """

    name: str
    vocabulary: int
    classes: int
    max_length: int
    markers: Markers = ()


def build_model(source: ModelSource, knobs: Hyperparameters, seed: int, pad_id: int | None = None) -> PreTrainedModel:
    """A classifier in training mode, in fp32 on the CPU. New weights depend on `seed` alone.

    Args:
        pad_id: the token that fills up the rows of a batch; a decoder has to know it.

    Raises:
        ModelError: there is no such model, or it cannot do what is asked.
    """
    config = _configuration(source)
    for name in _DROPOUT_NAMES:
        if hasattr(config, name) and isinstance(getattr(config, name), float | int | None):
            setattr(config, name, knobs.dropout)
    set_pooling(config, knobs.pooling, knobs.dropout, source.markers)
    pooled = pooled_class(config)
    torch.manual_seed(seed)
    model = (pooled or ElectraForSequenceClassification)(config) if source.name == TINY else _load(source, config)
    _check_length(source, model)
    if model.get_input_embeddings().num_embeddings < source.vocabulary:
        model.resize_token_embeddings(source.vocabulary, mean_resizing=False)
    if knobs.gradient_checkpointing:
        if not model.supports_gradient_checkpointing:
            raise ModelError(f"training.gradient_checkpointing: {source.name} is not made for it; leave it out")
        # transformers 5.23 has it under a new name, and warns of the old one.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    _set_padding(model, pad_id)
    return model.train()


def load_classifier(folder: Path) -> PreTrainedModel:
    """A classifier as `save_pretrained` wrote it, on the CPU.

    Raises:
        ModelError: the folder holds none that loads.
    """
    pooled = pooled_class(load_pretrained(AutoConfig, folder, "model"))
    model: PreTrainedModel = load_pretrained(pooled or AutoModelForSequenceClassification, folder, "model")
    _set_padding(model, None)
    return model


def check_source(source: ModelSource, *knobs: Hyperparameters) -> None:
    """Check that the model exists, reads `max_length` tokens, and has the parts that the knobs of trials change.

    It does not read its weights.

    Raises:
        ModelError: it does not, or cannot be pooled so.
    """
    skeleton = _skeleton(source)
    _check_length(source, skeleton)
    for one in knobs:
        _check_parts(skeleton, one)


def _check_parts(skeleton: PreTrainedModel, knobs: Hyperparameters) -> None:
    refuse_missing_layers(skeleton, knobs)
    if knobs.fgm_epsilon > 0:
        refuse_two_embeddings(skeleton)
    if knobs.pooling == "first":  # else the classifier is ours
        refuse_missing_dropout(skeleton, knobs)
    else:
        set_pooling(skeleton.config, knobs.pooling, knobs.dropout, ())
        pooled_class(skeleton.config)


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
        config = load_pretrained(AutoConfig, source.name, "model", num_labels=source.classes)
        config.problem_type = "single_label_classification"  # whatever the classifier before it did
        if config.model_type == "big_bird":
            # The first short batch would switch to this for good, so that a resumed fold would go on otherwise.
            config.attention_type = "original_full"
        return config
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
    limit: int = getattr(model.config, "max_position_embeddings", None) or 0
    return limit if limit > 0 else None  # XLNet says -1


def _set_padding(model: PreTrainedModel, pad_id: int | None) -> None:
    """Let the model know where a row ends, where its own classifier reads the last token.

    Args:
        pad_id: None: as the model's configuration says.
    """
    if pad_id is not None and (model.config.pad_token_id is None or hasattr(model, "score")):
        model.config.pad_token_id = pad_id  # a decoder takes the last other token for the last one
    if hasattr(model, "score") or isinstance(model, PooledClassifier):
        model.config.use_cache = False  # a decoder would keep what it needs to go on writing
    if isinstance(model, XLNetForSequenceClassification):
        model.register_forward_pre_hook(_pad_left, with_kwargs=True)


def _pad_left(_: nn.Module, args: tuple[object, ...], inputs: dict[str, Any]) -> tuple[object, dict[str, Any]]:
    """Move the padding of a batch to the left of each row: XLNet's classifier reads the last place."""
    mask = inputs["attention_mask"]
    places = torch.arange(mask.shape[1], device=mask.device) - (mask == 0).sum(dim=1, keepdim=True)
    return args, {name: tensor.gather(1, places % mask.shape[1]) for name, tensor in inputs.items()}


def _load(source: ModelSource, config: PretrainedConfig) -> PreTrainedModel:
    model, report = load_pretrained(
        pooled_class(config) or AutoModelForSequenceClassification,
        source.name,
        "model",
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # the classifier may be of another task; _check_weights refuses all else
        output_loading_info=True,
    )
    _check_weights(source, model, report)
    _draw_labels(model, {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
    return model


def _draw_labels(model: PreTrainedModel, new: set[str]) -> None:
    """Draw the layer that gives the labels, unless its tensors are `new`: the checkpoint's is of another task."""
    encoder = f"{model.base_model_prefix}."
    name, last = [one for one in model.named_modules() if isinstance(one[1], nn.Linear)][-1]
    if name.startswith(encoder) or f"{name}.weight" in new:
        return
    for parameter in last.parameters():
        parameter._is_hf_initialized = False  # or it would be left as it is
    model._init_weights(last)


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
