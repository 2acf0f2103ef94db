"""A fold's score without the luck of its best evaluation: picked on one half of the rows, scored on the other.

The best of eight evaluations on the same rows is optimistic, as each differs from the others by chance too. Which rows
each evaluation got right is stored, so that the pick is repeated on a half of the rows, and what was picked is scored
on the other half, both ways. The mean over several random splits has less noise than one split. A pick by half the
rows is a little worse than one by all of them, so what is left of the bias is pessimistic.
"""

from collections.abc import Sequence

import numpy as np

from foldrace.trainer.arrays import BoolArray
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.metrics import MetricsError, bits_to_array

SPLITS = 20  # of the rows into halves, the same ones for every fold of so many rows


def unbiased_score(curve: Sequence[EvaluationRecord]) -> float | None:
    """The accuracy of a fold's best evaluation, on rows that did not pick it.

    None where an evaluation has no bits of its rows, as with every metric but accuracy; then the bias stays.

    Args:
        curve: the evaluations of a fold that is done, in their order.
    """
    rows = {record.rows for record in curve}
    if len(rows) != 1 or min(rows) < 2:
        return None
    try:
        return score_by_halves(np.stack([bits_to_array(record.right, record.rows) for record in curve]))
    except MetricsError:
        return None


def score_by_halves(right: BoolArray) -> float:
    """The mean accuracy of the evaluation that is best on one half of the rows, on the other half.

    Args:
        right: (evaluations, rows), which rows each evaluation got right; at least two rows.
    """
    random, rows = np.random.default_rng(0), right.shape[1]
    scores = []
    for _ in range(SPLITS):
        order = random.permutation(rows)
        halves = order[: rows // 2], order[rows // 2 :]
        for picks, scored in (halves, halves[::-1]):
            picked = right[:, picks].mean(axis=1).argmax()  # the first of equal ones, as in training
            scores.append(right[picked, scored].mean())
    return float(np.mean(scores))
