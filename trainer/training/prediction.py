"""What a trained model makes of rows: probabilities, in row order."""

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
    """Probabilities of shape (rows, classes), in the order of `rows`, whatever the order of the batches.

    Args:
        rows: positions in `tokens`; one may occur repeatedly.
        dtype: to compute in, by autocast; None: the weights' own.
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
    """A fold's model, as `save_model` wrote it; ModelError when the folder holds none."""
    model: PreTrainedModel = load_pretrained(AutoModelForSequenceClassification, folder, "model")
    return model.to(device)
