"""Classifiers that read more of the last layer than the first token: the mean of all tokens, or both entities' markers.

A model of any family gets such a classifier in the place of its own. What the classifier is stands in the model's
`config.json`, so that a saved model is read as it was trained.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING, PretrainedConfig, PreTrainedModel
from transformers.activations import get_activation
from transformers.modeling_outputs import SequenceClassifierOutput

from foldrace.studies.knobs import Pooling
from foldrace.trainer.hub import ModelError

SETTINGS = "foldrace_pooling"  # the key in config.json
_NEED_THEIR_POOLER = ("squeezebert",)  # families whose encoder does not work without one

Markers = tuple[tuple[int, ...], ...]


def set_pooling(config: PretrainedConfig, pooling: Pooling, dropout: float, markers: Markers) -> None:
    """Have the model of a configuration read what `pooling` says; `first` leaves it its own classifier.

    Args:
        markers: the ids of the tokens before a subject, and of those before an object.
    """
    if hasattr(config, SETTINGS):
        delattr(config, SETTINGS)  # of the study that the model was trained in before
    if pooling != "first":
        settings = {"pooling": pooling, "dropout": dropout, "markers": markers if pooling == "entities" else ()}
        setattr(config, SETTINGS, settings)


def pooled_class(config: PretrainedConfig) -> type[PreTrainedModel] | None:
    """The class of a configuration's model; None where the model has its own classifier.

    Raises:
        ModelError: the model is no encoder and no decoder, but both; or its encoder has no last layer to be read alone.
    """
    if not hasattr(config, SETTINGS):
        return None
    if config.is_encoder_decoder or type(config) not in MODEL_MAPPING:
        found = f"{config.model_type} has no single last layer"
        raise ModelError(f'training.pooling: {found} whose vectors could be pooled; take "first"')
    encoder = MODEL_MAPPING[type(config)]
    if isinstance(encoder, tuple) or config.model_type in _NEED_THEIR_POOLER:  # Funnel has two encoders
        raise ModelError(f'training.pooling: a model of type {config.model_type} cannot be pooled; take "first"')
    return _pooled_class_of(encoder)


@cache
def _pooled_class_of(encoder: type[PreTrainedModel]) -> type[PreTrainedModel]:
    family = next(one for one in encoder.__mro__[1:] if issubclass(one, PreTrainedModel))
    return type(f"Pooled{encoder.__name__}", (PooledClassifier, family), {})


class PooledClassifier:
    """The encoder of a family under its usual name, and a classifier that reads its last layer.

    It is mixed into the family's base class, which knows how weights are named, read and drawn anew.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)  # type: ignore[call-arg]  # that of the family
        encoder = MODEL_MAPPING[type(config)](config)
        if hasattr(encoder, "pooler"):
            encoder.pooler = None  # it would read the first token
        setattr(self, self.base_model_prefix, encoder)  # type: ignore[attr-defined]
        self.classifier = _Head(config, **getattr(config, SETTINGS))
        self.post_init()  # type: ignore[attr-defined]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> SequenceClassifierOutput:
        """Logits of shape (rows, classes).

        Args:
            input_ids, attention_mask: (rows, tokens).
            inputs: of the encoder, as `token_type_ids`.
        """
        hidden = self.base_model(input_ids, attention_mask=attention_mask, **inputs)[0]  # type: ignore[attr-defined]
        return SequenceClassifierOutput(logits=self.classifier(hidden, input_ids, attention_mask))


class _Head(nn.Module):
    """Dropout, a dense layer, the family's activation, dropout, and the logits."""

    def __init__(self, config: PretrainedConfig, pooling: Pooling, dropout: float, markers: Sequence[Sequence[int]]):
        super().__init__()
        self.pooling, self.markers = pooling, markers
        self.dense = nn.Linear(config.hidden_size * (len(markers) or 1), config.hidden_size)
        names = (getattr(config, name, None) for name in ("pooler_hidden_act", "summary_activation"))
        self.activation = get_activation(next(filter(None, names), "tanh"))
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, hidden: Tensor, input_ids: Tensor, mask: Tensor) -> Tensor:
        pooled = POOLINGS[self.pooling](hidden, input_ids, mask, self.markers)
        output: Tensor = self.out_proj(self.dropout(self.activation(self.dense(self.dropout(pooled)))))
        return output


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean vector of the tokens that are no padding: (rows, width), in fp32.

    Args:
        hidden: (rows, tokens, width).
        mask: (rows, tokens), 0 for padding.
    """
    weights = mask[:, :, None].float()
    return (hidden.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)


def entity_starts(hidden: Tensor, input_ids: Tensor, markers: Sequence[Sequence[int]]) -> Tensor:
    """The vectors of the first marker of each role, end to end: (rows, roles x width).

    As "entity start" of Baldini Soares et al. 2019, "Matching the Blanks". A row that lost a marker, because it was too
    long, gives its first token in that place.

    Args:
        hidden: (rows, tokens, width).
        input_ids: (rows, tokens).
        markers: the ids that are markers, of each role.
    """
    rows = torch.arange(len(input_ids), device=input_ids.device)
    found = []
    for ids in markers:
        is_marker = torch.zeros_like(input_ids, dtype=torch.bool)
        for number in ids:
            is_marker |= input_ids == number
        found.append(hidden[rows, is_marker.int().argmax(dim=1)])
    return torch.cat(found, dim=-1)


# What each pooling but `first` makes of the last layer, the ids and the mask of its tokens, and the markers.
POOLINGS: dict[Pooling, Callable[[Tensor, Tensor, Tensor, Sequence[Sequence[int]]], Tensor]] = {
    "mean": lambda hidden, input_ids, mask, markers: masked_mean(hidden, mask),
    "entities": lambda hidden, input_ids, mask, markers: entity_starts(hidden, input_ids, markers),
}
