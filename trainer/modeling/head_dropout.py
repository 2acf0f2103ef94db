"""Several dropout masks of the classifier in one step."""

from torch import Tensor, nn
from transformers import PreTrainedModel

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.hub import ModelError

_OUTPUTS = ("last_hidden_state", "pooler_output")  # of an encoder, that a classifier may read; rows come first


def refuse_missing_dropout(model: PreTrainedModel, knobs: Hyperparameters) -> None:
    """Raise ModelError where the model's classifier has no dropout to sample from, and the knobs ask for that."""
    if knobs.dropout_samples == 1:
        return
    encoder = set(model.base_model.modules())
    has_dropout = any(isinstance(module, nn.Dropout) and module not in encoder for module in model.modules())
    if model.config.is_encoder_decoder or not has_dropout:
        kind = model.config.model_type
        raise ModelError(
            f"training.dropout_samples: the classifier of a model of type {kind} has no dropout; leave it out"
        )


def sample_head_dropout(model: PreTrainedModel, knobs: Hyperparameters) -> None:
    """In training, let the encoder's output go through the classifier several times, each with a mask of its own.

    Inoue 2019, Multi-Sample Dropout for Accelerated Training and Better Generalization. The loss of a row is the mean
    over its samples. The logits become (samples * rows, classes): all rows, and then all of them again.

    Raises:
        ModelError: see `refuse_missing_dropout`.
    """
    refuse_missing_dropout(model, knobs)
    samples = knobs.dropout_samples

    def repeat(encoder: nn.Module, _: object, output: dict[str, Tensor]) -> dict[str, Tensor] | None:
        if not encoder.training:
            return None
        for name in _OUTPUTS:
            if output.get(name) is not None:
                tensor = output[name]
                output[name] = tensor.repeat(samples, *[1] * (tensor.ndim - 1))
        return output

    if samples > 1:
        model.base_model.register_forward_hook(repeat)
