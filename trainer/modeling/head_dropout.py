"""Several dropout masks of the classifier in one step."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.hub import ModelError


def refuse_missing_dropout(model: PreTrainedModel, knobs: Hyperparameters) -> None:
    """Raise ModelError where the knobs ask for several masks, and the model's classifier has no dropout."""
    encoder = set(model.base_model.modules())
    if knobs.dropout_samples > 1 and not any(isinstance(m, nn.Dropout) for m in set(model.modules()) - encoder):
        found = f"the classifier of a model of type {model.config.model_type} has no dropout"
        raise ModelError(f"training.dropout_samples: {found}; leave it out")


def sampled_logits(model: PreTrainedModel, batch: Mapping[str, Tensor], samples: int) -> Tensor:
    """The logits of a batch, (samples * rows, classes): all rows, and then all of them again with another mask.

    Inoue 2019, Multi-Sample Dropout for Accelerated Training and Better Generalization: the encoder is computed once,
    its output goes through the classifier several times, and the loss is the mean over them.
    """
    if samples == 1:
        logits: Tensor = model(**batch).logits
        return logits
    with _computed_once(model.base_model):
        return torch.cat([model(**batch).logits for _ in range(samples)])


@contextmanager
def _computed_once(encoder: nn.Module) -> Iterator[None]:
    """Within it, the encoder gives again what it gave first."""
    forward = encoder.forward
    outputs: list[Any] = []

    def first_output(*inputs: Any, **named: Any) -> Any:
        if not outputs:
            outputs.append(forward(*inputs, **named))
        return outputs[0]

    encoder.forward = first_output
    try:
        yield
    finally:
        del encoder.forward
