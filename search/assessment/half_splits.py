"""A fold's score without the luck of its best evaluation, which is picked again by one half of the rows.

The best of eight evaluations on the same rows is optimistic, as each differs from the others by chance too. Which rows
each evaluation got right is stored, so that the pick is repeated on a half of the rows; its luck is by how much it is
better there than on the other half. Several random splits, both ways, have less noise than one. A pick by all rows has
the luck of one by half of them over the root of two, where all evaluations are equally good, and less where they are
not, so what is left of the bias is pessimistic.
"""

import math
from collections.abc import Sequence

import numpy as np

from foldrace.trainer.arrays import BoolArray
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.metrics import MetricsError, bits_to_array

SPLITS = 20  # of the rows into halves, the same ones for every fold of so many rows


def unbiased_score(curve: Sequence[EvaluationRecord]) -> float | None:
    """The accuracy of a fold's best evaluation, less the luck of having been picked by the same rows.

    None where an evaluation has no bits of its rows, as with every metric but accuracy; then the bias stays.

    Args:
        curve: the evaluations of a fold that is done, in their order.
    """
    rows = {record.rows for record in curve}
    if len(rows) != 1 or min(rows) < 2:
        return None
    try:
        return score_without_luck(np.stack([bits_to_array(record.right, record.rows) for record in curve]))
    except MetricsError:
        return None


def score_without_luck(right: BoolArray) -> float:
    """The accuracy of the best evaluation, less the luck that it has by all rows.

    Args:
        right: (evaluations, rows), which rows each evaluation got right; at least two rows.
    """
    random, rows = np.random.default_rng(0), right.shape[1]
    lucks = []
    for _ in range(SPLITS):
        order = random.permutation(rows)
        halves = order[: rows // 2], order[rows // 2 :]
        for picks, others in (halves, halves[::-1]):
            picked = right[right[:, picks].mean(axis=1).argmax()]  # the first of equal ones, as in training
            lucks.append(picked[picks].mean() - picked[others].mean())
    return float(right.mean(axis=1).max() - np.mean(lucks) / math.sqrt(2))
