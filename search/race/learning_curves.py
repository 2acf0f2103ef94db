"""What a study's trials have shown so far: cell by cell (fold and evaluation), and row by row where bits are there.

Read from what a worker reports with each evaluation, under `fold{fold}/eval{index}`; a cell that is missing or makes
no sense is a cell that was not seen. Nothing here raises on what it reads.
"""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from foldrace.search.race.space import positions
from foldrace.storage.optuna_rows import cell_key
from foldrace.trainer.arrays import FloatArray
from foldrace.trainer.evaluation import EvaluationRecord, RecordError, first_best

Estimate = TypeVar("Estimate", float, FloatArray)
Cell = tuple[int, int]  # a fold and an evaluation in it, both from 0
_CELL_KEY = re.compile(r"fold(\d+)/eval(\d+)")


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one trial has shown.

    Attributes:
        number: the trial's.
        best: (folds, evaluations), best so far; NaN where not seen. In a fold that ended, nothing is missing.
        right: of each fold that ended, the rows that were right at its best evaluation; empty without bits.
        rows: validation rows of each of those folds; 0 without bits.
        knobs: where it lies in its search space; see `positions`.
    """

    number: int
    best: FloatArray
    right: tuple[NDArray[np.uint8], ...]
    rows: tuple[int, ...]
    knobs: Mapping[str, float]

    @property
    def folds_done(self) -> int:
        return len(self.rows)

    @property
    def is_whole(self) -> bool:
        return bool(np.isfinite(self.best).all())

    @property
    def value(self) -> float:
        """The mean over the folds of the best evaluations; NaN unless the trial is whole."""
        return float(self.best[:, -1].mean())

    def of_folds_done(self) -> "Evidence":
        """Without what the running fold has shown so far."""
        best = self.best.copy()
        best[self.folds_done :] = np.nan
        return replace(self, best=best)


def evaluations_of(attributes: Mapping[str, Any]) -> dict[Cell, EvaluationRecord]:
    """All evaluations among a trial's user attributes; a record that cannot be read is left out."""
    found = {}
    for key, stored in attributes.items():
        if (match := _CELL_KEY.fullmatch(key)) is not None:
            with suppress(RecordError):
                found[int(match[1]), int(match[2])] = EvaluationRecord.from_json(stored)
    return found


def read_evidence(trial: FrozenTrial, folds: int, evaluations: int) -> Evidence:
    """All that a trial has shown. What a fold that ended did not show at a point is what it showed before."""
    best = np.full((folds, evaluations), np.nan)
    right: list[NDArray[np.uint8]] = []
    rows: list[int] = []
    seen = evaluations_of(trial.user_attrs)
    for fold in range(folds):
        curve = [seen.get((fold, index)) for index in range(evaluations)]
        best[fold] = [math.nan if record is None else record.best for record in curve]
        begun_next = cell_key(fold + 1, 0) in trial.user_attrs
        if not (trial.state == TrialState.COMPLETE or begun_next or curve[-1] is not None):
            break
        _fill(best[fold])
        bits, count = _bits_at_best([record for record in curve if record is not None])
        right.append(bits)
        rows.append(count)
    return Evidence(trial.number, best, tuple(right), tuple(rows), positions(trial))


def running_estimate(ended: Sequence[float], best: Estimate, share: Estimate) -> Estimate:
    """The value of a trial as its folds so far give it: their mean, weighted by how far each fold is.

    Stock pruners compare this number, because the best of a single fold says too little. It is NaN where a fold has
    shown nothing.

    Args:
        ended: the best of each fold that ended.
        best: the best so far of the fold that runs; a number, or (evaluations,) for all its evaluations at once.
        share: how much of that fold is done, above 0 and at most 1; of the shape of `best`.
    """
    return (sum(ended) + share * best) / (len(ended) + share)


def disagreement(one: Evidence, other: Evidence) -> float | None:
    """The variance of the difference of two trials' accuracy in a fold, as far as it comes from the fold's rows.

    After McNemar (1947), only the rows that one of the two gets right and the other does not decide; a share d of m
    rows gives a variance of d / m. Returned is its mean over the folds that both have finished; None without bits.
    """
    variances = []
    for mine, theirs, m, n in zip(one.right, other.right, one.rows, other.rows, strict=False):
        if m == n > 0 and len(mine) == len(theirs) > 0:
            variances.append(int(np.bitwise_count(mine ^ theirs).sum()) / m**2)
    return float(np.mean(variances)) if variances else None


def _fill(cells: FloatArray) -> None:
    """Best so far goes on as it was where a point was not seen; before the first, it is what the first showed."""
    seen = cells[np.isfinite(cells)]
    last = seen[0] if len(seen) else math.nan
    for i, cell in enumerate(cells):
        last = last if math.isnan(cell) else cell
        cells[i] = last


def _bits_at_best(curve: list[EvaluationRecord]) -> tuple[NDArray[np.uint8], int]:
    nothing = np.empty(0, dtype=np.uint8), 0
    if not curve:
        return nothing
    at_best = first_best(curve)
    try:
        bits = np.frombuffer(bytes.fromhex(at_best.right), dtype=np.uint8)
    except ValueError:
        return nothing
    return (bits, at_best.rows) if at_best.rows > 0 and len(bits) == -(-at_best.rows // 8) else nothing
