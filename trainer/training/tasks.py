"""What a fold is asked, and what it tells: a task goes in, signs of life, evaluations and a result come out."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from foldrace.studies.knobs import Hyperparameters
from foldrace.studies.study import Metric
from foldrace.trainer.arrays import Float32Array, IntArray
from foldrace.trainer.data.batching import Tokens
from foldrace.trainer.evaluation import EvaluationRecord, first_best
from foldrace.trainer.hashing import hashed_fields, hashed_knobs
from foldrace.trainer.modeling.classifier import ModelSource
from foldrace.trainer.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class FoldTask:
    """Everything a fold's result depends on, but the machine.

    Attributes:
        tokens, labels: every labelled row of the study; labels (rows,) are class indices.
        training, validation: positions in `labels`; in `training` one may occur repeatedly.
        no_relation: the class that micro-F1 leaves out, if there is one.
        test: rows to predict with the best weights (final jobs); None in a search.
        seed: of the initial weights, the order of the batches and the dropout.
        device: "cpu" or "cuda".
    """

    tokens: Tokens
    labels: IntArray
    training: IntArray
    validation: IntArray
    no_relation: int | None
    source: ModelSource
    knobs: Hyperparameters
    metric: Metric
    seed: int
    pad_id: int
    device: str = "cpu"
    test: Tokens | None = None

    @property
    def total_steps(self) -> int:
        return self.knobs.epochs * -(-len(self.training) // self.knobs.batch_size)

    def hash(self) -> str:
        """The SHA-256, in hexadecimal, of all that the result depends on. The device is left out."""
        arrays = [self.tokens.ids, self.tokens.offsets, self.labels, self.training, self.validation]
        digest = hashlib.sha256()
        for array in arrays if self.test is None else [*arrays, self.test.ids]:
            digest.update(np.ascontiguousarray(array).data)
        plain = [hashed_fields(self.source), hashed_knobs(self.knobs), self.metric, self.seed, self.no_relation]
        digest.update(json.dumps(plain, sort_keys=True).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Progress:
    """A sign of life between two optimiser steps; `snapshot` takes a checkpoint here, before iteration goes on.

    Attributes:
        micro_batch: rows that go through the model at once; below `batch_size` once the device ran out of memory.
    """

    step: int
    total_steps: int
    epoch: float
    rows_per_second: float
    micro_batch: int
    snapshot: Callable[[], Checkpoint] = field(repr=False)


@dataclass(frozen=True)
class FoldResult:
    """What a fold gives.

    Attributes:
        curve: its evaluations; `best` is the first of those with the highest metric, `last` the last.
        probabilities: (validation rows, classes) of the best weights, in validation order.
        test_probabilities: (test rows, classes), in row order; None in a search.
        train_probabilities: (training rows, classes) of the best weights, in training order; None in a search.
        weights: the best weights, on the CPU.
        seconds_training, seconds_evaluating: wall time, over all attempts.
        rows_per_second: training rows over seconds in training.
        peak_memory: bytes, since the fold or its last attempt began: allocated on the CUDA device, or resident here.
        threads: the CPU threads it ran with; one and two differ in the last bits.
        micro_batch: rows that went through the model at once; see `Progress`.
    """

    curve: tuple[EvaluationRecord, ...]
    probabilities: Float32Array
    test_probabilities: Float32Array | None
    train_probabilities: Float32Array | None
    weights: dict[str, Tensor]
    seconds_training: float
    seconds_evaluating: float
    rows_per_second: float
    peak_memory: int
    threads: int
    micro_batch: int

    @property
    def best(self) -> EvaluationRecord:
        return first_best(self.curve)

    @property
    def last(self) -> EvaluationRecord:
        return self.curve[-1]
