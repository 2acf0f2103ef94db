"""A small fold of made-up rows: three classes, each with words of its own; it trains in about a second."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.data.batching import Tokens
from foldrace.trainer.modeling.classifier import ModelSource
from foldrace.trainer.training.tasks import FoldTask

Tamper = Callable[[Callable[[PreTrainedModel], None]], None]

# Whatever changes a step, a weight or the state, at once.
EVERY_METHOD: dict[str, Any] = {
    "loss_mix": "focal",
    "class_weights": "effective",
    "layer_lr_decay": 0.8,
    "reinit_layers": 1,
    "freeze": 1,
    "rdrop_alpha": 1.0,
    "fgm_epsilon": 0.1,
    "ema_decay": 0.8,
    "dropout_samples": 2,
}

ROWS, CLASSES, WORDS = 60, 3, 40


def small_task(device: str = "cpu", seed: int = 5, test: Tokens | None = None, **knobs: Any) -> FoldTask:
    """Keyword arguments are knobs, or attributes of the task."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, ROWS)
    lengths = random.integers(4, 14, ROWS)
    rows = [random.integers(1, WORDS, length) * CLASSES + label for length, label in zip(lengths, labels, strict=True)]
    tokens = Tokens(np.concatenate(rows), None, np.concatenate([[0], np.cumsum(lengths)]))
    chosen = {"lr": 2e-3, "epochs": 2, "batch_size": 8, "evaluations": 3, "precision": "fp32"} | knobs
    return FoldTask(
        tokens=tokens,
        labels=labels,
        training=np.arange(44),
        validation=np.arange(44, ROWS),
        no_relation=0,
        source=ModelSource("tiny", (WORDS + 1) * CLASSES, CLASSES, 32),
        knobs=Hyperparameters(**chosen),
        metric="accuracy",
        seed=seed,
        pad_id=0,
        device=device,
        test=test,
    )


def memory_for(rows: int) -> Callable[[PreTrainedModel], None]:
    """A model that runs out of memory when it is trained with more rows at once."""

    def refuse(model: torch.nn.Module, _: object, kwargs: dict[str, torch.Tensor]) -> None:
        if model.training and len(kwargs["input_ids"]) > rows:
            raise torch.OutOfMemoryError(f"no room for more than {rows} rows")

    return lambda model: model.register_forward_pre_hook(refuse, with_kwargs=True)
