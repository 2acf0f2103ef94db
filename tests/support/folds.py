"""A small fold of made-up rows: three classes, each with words of its own; it trains in about a second."""

from typing import Any

import numpy as np

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.data.batching import Tokens
from foldrace.trainer.modeling.classifier import ModelSource
from foldrace.trainer.training.tasks import FoldTask

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
