"""Records of evaluations, as short as a test needs them."""

from typing import Any

from foldrace.trainer.evaluation import EvaluationRecord


def record_at(index: int, best: float, **fields: Any) -> EvaluationRecord:
    """An evaluation of which only the best matters."""
    return EvaluationRecord(index=index, best=best, **fields)
