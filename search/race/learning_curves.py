"""What a study's trials have shown so far: cell by cell (fold and evaluation), and row by row where bits are there.

Read from what a worker reports with each evaluation, under `fold{fold}/eval{index}`; a cell that is missing or makes
no sense is a cell that was not seen. Nothing here raises on what it reads.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from foldrace.search.race.space import positions
from foldrace.storage.optuna_rows import cell_key

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One evaluation: the best so far in its fold, the rows that were right here (hexadecimal), and its epoch."""

    best: float
    right: str
    rows: int
    epoch: float | None


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


def read_cell(attributes: Mapping[str, Any], fold: int, index: int) -> Cell | None:
    """One evaluation of a trial; None when it is not there, or holds no finite `best`."""
    record = attributes.get(cell_key(fold, index))
    if isinstance(record, str):
        try:
            record = json.loads(record)
        except ValueError:
            return None
    if not isinstance(record, Mapping) or (best := _number(record.get("best"))) is None:
        return None
    rows, right = _number(record.get("rows")), record.get("right")
    return Cell(
        best=best,
        right=right if isinstance(right, str) else "",
        rows=0 if rows is None else int(rows),
        epoch=_number(record.get("epoch")),
    )


def read_evidence(trial: FrozenTrial, folds: int, evaluations: int) -> Evidence:
    """All that a trial has shown. What a fold that ended did not show at a point is what it showed before."""
    best = np.full((folds, evaluations), np.nan)
    right: list[NDArray[np.uint8]] = []
    rows: list[int] = []
    for fold in range(folds):
        cells = [read_cell(trial.user_attrs, fold, index) for index in range(evaluations)]
        best[fold] = [math.nan if cell is None else cell.best for cell in cells]
        has_ended = (
            trial.state == TrialState.COMPLETE or cell_key(fold + 1, 0) in trial.user_attrs or cells[-1] is not None
        )
        if not has_ended:
            break
        _fill(best[fold])
        bits, count = _bits_at_best([cell for cell in cells if cell is not None])
        right.append(bits)
        rows.append(count)
    return Evidence(trial.number, best, tuple(right), tuple(rows), positions(trial))


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


def _bits_at_best(cells: list[Cell]) -> tuple[NDArray[np.uint8], int]:
    nothing = np.empty(0, dtype=np.uint8), 0
    at_best = next((cell for cell in cells if cell.best == cells[-1].best), None)
    if at_best is None:
        return nothing
    try:
        bits = np.frombuffer(bytes.fromhex(at_best.right), dtype=np.uint8)
    except ValueError:
        return nothing
    return (bits, at_best.rows) if at_best.rows > 0 and len(bits) == -(-at_best.rows // 8) else nothing


def _number(found: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if math.isfinite(found) else None
