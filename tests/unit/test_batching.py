"""Batches: every row once, little padding, and rows that come out as they went in."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foldrace.trainer.arrays import IntArray
from foldrace.trainer.data.batching import (
    Tokens,
    assemble,
    epoch_batches,
    evaluation_batches,
)

CPU = torch.device("cpu")


def tokens_of(*rows: list[int], types: bool = False) -> Tokens:
    offsets = np.cumsum([0, *(len(row) for row in rows)])
    ids = np.concatenate([np.array(row) for row in rows])
    return Tokens(ids, ids % 2 if types else None, offsets)


def lengths_of(rows: int) -> IntArray:
    return np.random.default_rng(3).integers(8, 128, rows)


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 5))
def test_an_epoch_holds_every_row_once(rows: int, batch_size: int, epoch: int) -> None:
    batches = epoch_batches(lengths_of(rows), batch_size, seed=7, epoch=epoch)

    assert sorted(np.concatenate(batches)) == list(range(rows))
    assert len(batches) == -(-rows // batch_size)
    assert sum(len(batch) != batch_size for batch in batches) <= 1


def test_an_epoch_is_the_same_for_everyone_and_another_one_is_not() -> None:
    lengths = lengths_of(200)

    first, again, other = (epoch_batches(lengths, 16, seed=7, epoch=epoch) for epoch in (0, 0, 1))

    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert {tuple(sorted(batch)) for batch in first} != {tuple(sorted(batch)) for batch in other}


def test_batches_of_similar_length_are_padded_by_less_than_a_tenth() -> None:
    lengths = lengths_of(1600)

    batches = epoch_batches(lengths, 32, seed=7, epoch=0)

    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.1 * lengths.sum()


def test_batches_do_not_come_in_order_of_length() -> None:
    lengths = lengths_of(1600)

    means = [lengths[batch].mean() for batch in epoch_batches(lengths, 32, seed=7, epoch=0)]

    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.5


@given(st.lists(st.integers(1, 600), min_size=1, max_size=200))
def test_evaluation_batches_hold_every_row_once_within_their_size(lengths: list[int]) -> None:
    batches = evaluation_batches(np.array(lengths), 3072)

    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert all(len(b) * max(lengths[i] for i in b) <= 3072 for b in batches if len(b) > 1)


def test_a_batch_holds_its_rows_in_order_padded_at_their_end() -> None:
    batch = assemble(tokens_of([5], [6, 7, 8], [9, 4], types=True), np.array([1, 2, 1]), pad_id=3, device=CPU)

    assert batch["input_ids"].tolist() == [[6, 7, 8, 3], [9, 4, 3, 3], [6, 7, 8, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert batch["token_type_ids"].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


def test_a_model_without_token_types_is_given_none() -> None:
    assert "token_type_ids" not in assemble(tokens_of([5], [6, 7]), np.array([0, 1]), pad_id=0, device=CPU)


@pytest.mark.parametrize("rows", [1, 31, 500])
def test_any_rows_come_back_whole(rows: int) -> None:
    random = np.random.default_rng(rows)
    content = [random.integers(1, 99, n).tolist() for n in random.integers(1, 50, rows)]

    batch = assemble(tokens_of(*content), np.arange(rows), pad_id=0, device=CPU)

    assert [ids[ids > 0].tolist() for ids in batch["input_ids"]] == content
