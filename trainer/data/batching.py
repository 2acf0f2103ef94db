"""Which rows go into which batch, and a batch as padded tensors. The order depends on the seed and the epoch alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foldrace.trainer.arrays import BoolArray, IntArray

POOL_BATCHES = 50  # batches in a pool of rows that is sorted by length
LENGTH_JITTER = 0.03  # share by which lengths are blurred before sorting, so that epochs have different batches
PAD_MULTIPLE = {"cpu": 2, "cuda": 8}  # tokens; bf16 products need even sizes, tensor cores need multiples of 8
# Padded tokens in a batch without gradients: more do not fit into the caches of a CPU, fewer leave a GPU waiting for
# Python. By calculation, a GPU needs half a GB for a batch of base width.
EVALUATION_TOKENS = {"cpu": 3072, "cuda": 16384}


@dataclass(frozen=True)
class Tokens:
    """Rows of token ids of different lengths, end to end.

    Attributes:
        ids: (tokens,) int64, the ids of all rows.
        types: (tokens,) int64, token type ids; None for a model without them.
        offsets: (rows + 1,) int64; row i is `ids[offsets[i]:offsets[i + 1]]`.
        truncated: the number of rows that were cut at the maximal length.
        of_entity: (tokens,), whether a token is of an entity; None where nobody asked.
    """

    ids: IntArray
    types: IntArray | None
    offsets: IntArray
    truncated: int = 0
    of_entity: BoolArray | None = None

    @property
    def lengths(self) -> IntArray:
        """(rows,), in tokens."""
        return np.diff(self.offsets)

    def take(self, rows: IntArray) -> "Tokens":
        """Some rows, in their order. A row may occur repeatedly."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return self.select(places, offsets)

    def select(self, places: IntArray | BoolArray, offsets: IntArray) -> "Tokens":
        """Some of the tokens, as rows between new `offsets`."""
        types = None if self.types is None else self.types[places]
        of_entity = None if self.of_entity is None else self.of_entity[places]
        return Tokens(self.ids[places], types, offsets, self.truncated, of_entity)


def join(parts: Sequence[Tokens]) -> Tokens:
    """The rows of some tokens with the same columns, one after the other; at least one."""
    types = [part.types for part in parts if part.types is not None]
    flags = [part.of_entity for part in parts if part.of_entity is not None]
    lengths = np.concatenate([part.lengths for part in parts])
    return Tokens(
        np.concatenate([part.ids for part in parts]),
        np.concatenate(types) if types else None,
        np.concatenate([[0], np.cumsum(lengths)]),
        sum(part.truncated for part in parts),
        np.concatenate(flags) if flags else None,
    )


@dataclass(frozen=True)
class TrainingPart:
    """What a fold trains on in one epoch.

    Attributes:
        labels: (rows of `tokens`,), class indices.
        rows: (rows of the epoch,), positions in `tokens`. A position may occur repeatedly.
    """

    tokens: Tokens
    labels: IntArray
    rows: IntArray

    @property
    def lengths(self) -> IntArray:
        """(rows of the epoch,), in tokens."""
        return self.tokens.lengths[self.rows]


Batch = dict[str, Tensor]  # the model's keyword arguments, each (rows, longest row rounded up)


def assemble(tokens: Tokens, rows: IntArray, pad_id: int, device: torch.device) -> Batch:
    """The padded batch of some rows, in their order."""
    lengths = tokens.lengths[rows]
    width = padded_length(int(lengths.max()), PAD_MULTIPLE[device.type])
    mask = np.arange(width) < lengths[:, None]
    source = (tokens.offsets[rows][:, None] + np.arange(width))[mask]
    columns = {"input_ids": np.full(mask.shape, pad_id), "attention_mask": mask.astype(np.int64)}
    columns["input_ids"][mask] = tokens.ids[source]
    if tokens.types is not None:
        columns["token_type_ids"] = np.zeros(mask.shape, dtype=np.int64)
        columns["token_type_ids"][mask] = tokens.types[source]
    return {name: to_device(column, device) for name, column in columns.items()}


def padded_length(length: int, multiple: int = max(PAD_MULTIPLE.values())) -> int:
    """The number of tokens that rows of `length` are padded to; by default, the most on any device."""
    return -(-length // multiple) * multiple


def to_device(array: IntArray, device: torch.device) -> Tensor:
    """The array as a tensor. A copy to a CUDA device is asynchronous, from pinned memory."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def epoch_batches(lengths: IntArray, batch_size: int, seed: int, epoch: int) -> list[IntArray]:
    """A shuffled epoch, cut into batches of rows of similar length.

    Args:
        lengths: (rows,), the number of tokens in each row of the training part.

    Returns:
        Positions in `lengths`, each once. Every batch but one holds `batch_size` of them.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    blurred = lengths * random.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(lengths))
    pools = [order[i : i + POOL_BATCHES * batch_size] for i in range(0, len(order), POOL_BATCHES * batch_size)]
    pooled = np.concatenate([pool[np.argsort(blurred[pool], kind="stable")] for pool in pools])
    batches = [pooled[i : i + batch_size] for i in range(0, len(pooled), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def evaluation_batches(lengths: IntArray, tokens: int) -> list[IntArray]:
    """All rows, sorted by length, in batches of at most `tokens` padded tokens or of one row.

    Returns:
        Positions in `lengths`, each once.
    """
    order = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        padded = np.maximum.accumulate(lengths[order[start:]]) * np.arange(1, len(order) - start + 1)
        count = max(1, int(np.searchsorted(padded, tokens, side="right")))
        batches.append(order[start : start + count])
        start += count
    return batches
