"""Records of evaluations, as short as a test needs them."""

from typing import Any

import numpy as np

from foldrace.trainer.arrays import BoolArray
from foldrace.trainer.evaluation import EvaluationRecord


def record_at(index: int, best: float, **fields: Any) -> EvaluationRecord:
    """An evaluation of which only the best matters."""
    return EvaluationRecord(index=index, best=best, **fields)


def curve_of_bits(right: BoolArray) -> tuple[EvaluationRecord, ...]:
    """The evaluations of a fold, of which only is known which rows each got right, (evaluations, rows)."""
    bests = np.maximum.accumulate(right.mean(axis=1))
    return tuple(
        record_at(i, float(best), step=i + 1, epoch=i + 1.0, right=np.packbits(row).tobytes().hex(), rows=len(row))
        for i, (best, row) in enumerate(zip(bests, right, strict=True))
    )
