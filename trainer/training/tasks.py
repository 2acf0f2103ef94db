"""The task of a fold, and what comes of it: progress, evaluations and a result, or an error."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from torch import Tensor

from foldrace.errors import FoldraceError
from foldrace.studies.knobs import Hyperparameters
from foldrace.studies.study import Metric
from foldrace.trainer.arrays import Float32Array, IntArray
from foldrace.trainer.augmentation.augmentation import Augmentation
from foldrace.trainer.data.batching import Tokens, TrainingPart
from foldrace.trainer.evaluation import EvaluationRecord, first_best
from foldrace.trainer.hashing import array_digest, hashed_fields, hashed_knobs
from foldrace.trainer.modeling.classifier import ModelSource
from foldrace.trainer.training.checkpoint import Checkpoint


class NonFiniteLossError(FoldraceError):
    """The training loss or a probability became NaN or infinite. The fold cannot recover."""


class OutOfMemoryError(FoldraceError):
    """Not even one row at a time fits on the device."""


class NoRoomError(RuntimeError):
    """The device has no room for the model, or for what training keeps beside it.

    No trial is at fault, and no user has a mistake to mend.
    """


@dataclass(frozen=True)
class FoldTask:
    """All that a fold's result depends on, beside the machine.

    Attributes:
        tokens, labels: every labelled row of the study; labels (rows,) are class indices.
        training, validation: positions in `labels`. A position may occur repeatedly in `training`. Without any in
            `validation`, the fold is not scored.
        no_relation: the class that micro-F1 leaves out; None when there is none.
        seed: draws the new weights, the order of the batches and the dropout.
        pad_id: the token that fills up the rows of a batch.
        device: "cpu" or "cuda".
        test: rows to predict with the best weights, for a final job; None in a search.
        augmentation: changes the training part in each epoch; None where nothing is changed.
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
    augmentation: Augmentation | None = None

    def part(self, epoch: int) -> TrainingPart:
        """What is trained on in an epoch, counted from 0."""
        if self.augmentation is None:
            return TrainingPart(self.tokens, self.labels, self.training)
        return self.augmentation.part(self.seed, epoch)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one pass over the training part; the last batch may be smaller."""
        return -(-len(self.training) // self.knobs.batch_size)

    @property
    def total_steps(self) -> int:
        return self.knobs.epochs * self.steps_per_epoch

    def hash(self) -> str:
        """Two SHA-256, in hexadecimal, of all that the result depends on. The device is left out.

        The first is that of version 0.1.0, which did not tell where one array ends and the next begins; see
        `is_same_task`.
        """
        arrays = [self.tokens.ids, self.tokens.offsets, self.labels, self.training, self.validation]
        digest = hashlib.sha256()
        for array in arrays if self.test is None else [*arrays, self.test.ids]:
            digest.update(np.ascontiguousarray(array).data)
        plain = [hashed_fields(self.source), hashed_knobs(self.knobs), self.metric, self.seed, self.no_relation]
        digest.update(json.dumps(plain, sort_keys=True).encode())
        if self.augmentation is not None:
            digest.update(self.augmentation.digest.encode())
        return f"{digest.hexdigest()}-{self._inputs()}"

    def _inputs(self) -> str:
        """The digest of each array by itself, and of what a batch is padded with."""
        rows = {"rows": self.tokens} | ({} if self.test is None else {"test": self.test})
        tokens = {f"{of} {name}": getattr(rows[of], name) for of in rows for name in ("ids", "types", "offsets")}
        parts = {"labels": self.labels, "training": self.training, "validation": self.validation}
        return array_digest(tokens | parts | {"pad": np.array(self.pad_id)})


@dataclass(frozen=True)
class Progress:
    """A sign of life between two optimiser steps.

    Attributes:
        epoch: passes over the training part so far.
        micro_batch: rows that go through the model at once; fewer than `batch_size` once the device ran out of memory.
        snapshot: takes a checkpoint of this very step. It may only be called before the iteration goes on.
    """

    step: int
    total_steps: int
    epoch: float
    rows_per_second: float
    micro_batch: int
    snapshot: Callable[[], Checkpoint] = field(repr=False)


@dataclass(frozen=True)
class FoldCost:
    """What a fold took. A value that an older version did not store is NaN or 0.

    Attributes:
        seconds_training, seconds_evaluating: wall time over all attempts.
        rows_per_second: training rows over `seconds_training`.
        peak_memory: bytes, since the fold or its last attempt began; allocated on the CUDA device, or else resident.
        threads: CPU threads. One thread and two differ in the last bits of a result.
        micro_batch: rows that went through the model at once; see `Progress`.
    """

    seconds_training: float = math.nan
    seconds_evaluating: float = math.nan
    rows_per_second: float = math.nan
    peak_memory: int = 0
    threads: int = 0
    micro_batch: int = 0

    @property
    def seconds(self) -> float:
        return self.seconds_training + self.seconds_evaluating

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "FoldCost":
        """The cost in plain data; keys that are not ours are passed over."""
        return cls(**{field.name: stored[field.name] for field in fields(cls) if field.name in stored})


@dataclass(frozen=True)
class FoldResult:
    """What a fold gives.

    Attributes:
        curve: its evaluations, in order.
        probabilities: (validation rows, classes), of the best weights, in validation order.
        test_probabilities: (test rows, classes), of the best weights, in row order; None in a search.
        train_probabilities: (training rows, classes), of the best weights, in training order; None in a search.
        weights: the best weights by name, on the CPU.
    """

    curve: tuple[EvaluationRecord, ...]
    probabilities: Float32Array
    test_probabilities: Float32Array | None
    train_probabilities: Float32Array | None
    weights: dict[str, Tensor]
    cost: FoldCost

    @property
    def best(self) -> EvaluationRecord:
        """The first evaluation with the highest metric."""
        return first_best(self.curve)

    @property
    def last(self) -> EvaluationRecord:
        return self.curve[-1]
