"""The probabilities that a trained model gives for rows."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from foldrace.trainer.arrays import Float32Array, IntArray
from foldrace.trainer.data.batching import Tokens, assemble, evaluation_batches
from foldrace.trainer.hub import load_pretrained


def predict(
    model: PreTrainedModel, tokens: Tokens, rows: IntArray, pad_id: int, dtype: torch.dtype | None
) -> Float32Array:
    """Probabilities of shape (rows, classes), in the order of `rows`.

    Args:
        rows: positions in `tokens`. A position may occur repeatedly.
        dtype: the precision of autocast; None to compute in the precision of the weights.
    """
    lengths = tokens.lengths[rows]
    probabilities = np.empty((len(rows), model.config.num_labels), dtype=np.float32)
    training = model.training
    model.eval()
    with torch.inference_mode(), torch.autocast(model.device.type, dtype, enabled=dtype is not None):
        for positions in evaluation_batches(lengths):
            batch = assemble(tokens, rows[positions], pad_id, model.device)
            logits = model(**batch).logits
            probabilities[positions] = torch.softmax(logits.float(), dim=-1).cpu().numpy()
    model.train(training)
    return probabilities


def load_model(folder: Path, device: str) -> PreTrainedModel:
    """The model of a fold, as `save_model` wrote it.

    Raises:
        ModelError: the folder holds none that loads.
    """
    model: PreTrainedModel = load_pretrained(AutoModelForSequenceClassification, folder, "model")
    return model.to(device)
