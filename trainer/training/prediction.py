"""The probabilities that a trained model gives for rows."""

from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from foldrace.trainer.arrays import Float32Array, IntArray
from foldrace.trainer.data.batching import EVALUATION_TOKENS, Tokens, assemble, evaluation_batches
from foldrace.trainer.modeling.classifier import load_classifier
from foldrace.trainer.modeling.devices import is_out_of_memory, release_memory


def predict(
    model: PreTrainedModel, tokens: Tokens, rows: IntArray, pad_id: int, dtype: torch.dtype | None
) -> Float32Array:
    """Probabilities of shape (rows, classes), in the order of `rows`.

    Args:
        rows: positions in `tokens`. A position may occur repeatedly.
        dtype: the precision of autocast; None to compute in the precision of the weights.

    Raises:
        RuntimeError: the device has no room for one row; `is_out_of_memory` knows it.
    """
    lengths = tokens.lengths[rows]
    probabilities = np.empty((len(rows), model.config.num_labels), dtype=np.float32)
    training = model.training
    model.eval()
    with torch.inference_mode(), torch.autocast(model.device.type, dtype, enabled=dtype is not None):
        for positions in evaluation_batches(lengths, EVALUATION_TOKENS[model.device.type]):
            probabilities[positions] = _predict_batch(model, tokens, rows[positions], pad_id)
    model.train(training)
    return probabilities


def _predict_batch(model: PreTrainedModel, tokens: Tokens, rows: IntArray, pad_id: int) -> Float32Array:
    """Probabilities of shape (rows, classes). Rows that do not fit into memory at once go through in two halves."""
    try:
        logits = model(**assemble(tokens, rows, pad_id, model.device)).logits
        batch: Float32Array = torch.softmax(logits.float(), dim=-1).cpu().numpy()
        return batch
    except RuntimeError as error:
        if len(rows) == 1 or not is_out_of_memory(error):
            raise
    release_memory(model.device)  # outside of the `except` block: in it, the traceback would keep the tensors alive
    halves = np.array_split(rows, 2)
    return np.concatenate([_predict_batch(model, tokens, half, pad_id) for half in halves])


def load_model(folder: Path, device: str) -> PreTrainedModel:
    """The model of a fold, as `save_model` wrote it.

    Raises:
        ModelError: the folder holds none that loads.
    """
    return load_classifier(folder).to(device)
