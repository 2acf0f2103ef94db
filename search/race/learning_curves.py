"""The learning curves of a study's trials: the best so far at each evaluation of each fold, and which rows were right.

They are read from what a worker reports with each evaluation, under `fold{fold}/eval{index}`. Nothing here raises on
what it reads: a record that is missing or cannot be read is an evaluation that was not seen.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from foldrace.storage.optuna_rows import cell_key
from foldrace.trainer.arrays import FloatArray
from foldrace.trainer.evaluation import EvaluationRecord, RecordError, first_best, read_best

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Estimate = TypeVar("Estimate", float, FloatArray)
EvaluationPoint = tuple[int, int]  # a fold and an evaluation in it, both from 0
_NO_BITS: tuple[NDArray[np.uint8], int] = np.empty(0, dtype=np.uint8), 0
_CELL_KEY = re.compile(r"fold(\d{1,9})/eval(\d{1,9})")


@dataclass(frozen=True, eq=False)
class LearningCurves:
    """The curves of one trial, whose folds may be trained in any order, and several at a time.

    Attributes:
        number: the trial's.
        best: (folds, evaluations), the best so far in each fold; NaN where not seen. A fold that is done has no NaN.
        right: of each fold, bits of the rows that were right at its best evaluation; empty of a fold that is not done,
            and where the worker reported none.
        rows: validation rows of each fold; 0 without bits.
        knobs: the normalised knobs; see `normalise_knobs`.
    """

    number: int
    best: FloatArray
    right: tuple[NDArray[np.uint8], ...]
    rows: tuple[int, ...]
    knobs: Mapping[str, float]

    @property
    def folds_done(self) -> int:
        return int(np.isfinite(self.best[:, -1]).sum())

    @property
    def reached(self) -> NDArray[np.int_]:
        """(folds,), the latest evaluation of each fold; -1 where none was seen."""
        seen = np.isfinite(self.best)
        return np.where(seen.any(axis=1), self.best.shape[1] - 1 - seen[:, ::-1].argmax(axis=1), -1)

    @property
    def is_empty(self) -> bool:
        """No evaluation was seen."""
        return not np.isfinite(self.best).any()

    @property
    def is_complete(self) -> bool:
        """Every evaluation of every fold is there."""
        return bool(np.isfinite(self.best).all())

    @property
    def value(self) -> float:
        """The mean over the folds of their best evaluations; NaN unless the trial is complete."""
        return float(self.best[:, -1].mean())

    def without_folds(self) -> "LearningCurves":
        """As if nothing had been seen."""
        return replace(self, best=np.full_like(self.best, np.nan))

    def without_running_folds(self) -> "LearningCurves":
        """The curves of the folds that are done."""
        return replace(self, best=np.where(np.isfinite(self.best[:, -1:]), self.best, np.nan))


def read_evaluation(attributes: Mapping[str, Any], fold: int, index: int) -> EvaluationRecord | None:
    """One evaluation among a trial's user attributes; None where it is missing or cannot be read."""
    try:
        return EvaluationRecord.from_json(attributes.get(cell_key(fold, index)))
    except RecordError:
        return None


def read_evaluations(attributes: Mapping[str, Any]) -> dict[EvaluationPoint, EvaluationRecord]:
    """All evaluations among a trial's user attributes; a record that cannot be read is left out."""
    found = {}
    for key, stored in attributes.items():
        if (match := _CELL_KEY.fullmatch(key)) is not None:
            with suppress(RecordError):
                found[int(match[1]), int(match[2])] = EvaluationRecord.from_json(stored)
    return found


def read_learning_curves(trial: "FrozenTrial", folds: int, evaluations: int) -> LearningCurves:
    """The curves of a trial, with its knobs; see `join_evaluations`."""
    from foldrace.search.race.space import normalise_knobs  # it needs optuna, which `foldrace status` does without

    seen, is_complete = read_evaluations(trial.user_attrs), trial.state.name == "COMPLETE"
    curves = join_evaluations(trial.number, seen, (folds, evaluations), is_complete=is_complete)
    return replace(curves, knobs=normalise_knobs(trial.params, trial.distributions))


def read_bests(attributes: Mapping[str, Any]) -> dict[EvaluationPoint, float]:
    """The best so far at each evaluation among a trial's user attributes: all that many trials are read for."""
    found = {}
    for key, stored in attributes.items():
        if (match := _CELL_KEY.fullmatch(key)) is not None:
            with suppress(RecordError):
                found[int(match[1]), int(match[2])] = read_best(stored)
    return found


def join_evaluations(
    number: int,
    seen: Mapping[EvaluationPoint, EvaluationRecord],
    shape: tuple[int, int],
    *,
    is_complete: bool = False,
) -> LearningCurves:
    """The curves of a trial without its knobs, from its evaluations; see `join_bests`."""
    bests = {point: record.best for point, record in seen.items()}
    curves = join_bests(number, bests, shape, is_complete=is_complete)
    bits = []
    for fold, is_done in enumerate(np.isfinite(curves.best[:, -1]) | is_complete):
        curve = [seen[fold, index] for index in range(shape[1]) if (fold, index) in seen] if is_done else []
        bits.append(_right_at_best(curve))
    right, rows = zip(*bits, strict=True)
    return replace(curves, right=right, rows=rows)


def join_bests(
    number: int, bests: Mapping[EvaluationPoint, float], shape: tuple[int, int], *, is_complete: bool = False
) -> LearningCurves:
    """The curves of a trial without its knobs and bits, from the best so far at each evaluation.

    In a fold that is done, an evaluation that is missing has the best so far before it.

    Args:
        shape: folds, and evaluations of each.
        is_complete: every fold is done.
    """
    folds, evaluations = shape
    best = np.full(shape, np.nan)
    for (fold, index), value in bests.items():
        if fold < folds and index < evaluations:
            best[fold, index] = value
    is_done = np.isfinite(best[:, -1]) | is_complete
    best[is_done] = _fill_forward(best[is_done])
    return LearningCurves(number, best, (_NO_BITS[0],) * folds, (_NO_BITS[1],) * folds, {})


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


def mcnemar_variance(one: LearningCurves, other: LearningCurves) -> float | None:
    """The variance of the difference of two trials' accuracy in a fold, from the rows on which they are discordant.

    After McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages":
    only the rows that one of the two gets right and the other does not tell them apart; a share d of m rows gives a
    variance of d / m. Returned is the mean over the folds that both have done; None where no fold has bits of both.
    """
    variances = []
    for mine, theirs, m, n in zip(one.right, other.right, one.rows, other.rows, strict=True):
        if m == n > 0 and len(mine) == len(theirs) > 0:
            variances.append(int(np.bitwise_count(mine ^ theirs).sum()) / m**2)
    return float(np.mean(variances)) if variances else None


def _fill_forward(curves: FloatArray) -> FloatArray:
    """(..., evaluations), each NaN replaced by the value before it; those before the first value by the first value."""
    seen = np.isfinite(curves)
    latest = np.maximum.accumulate(np.where(seen, np.arange(curves.shape[-1]), -1), axis=-1)
    return np.take_along_axis(curves, np.maximum(latest, seen.argmax(axis=-1)[..., None]), axis=-1)


def _right_at_best(curve: list[EvaluationRecord]) -> tuple[NDArray[np.uint8], int]:
    """The bits of the rows that were right at the best evaluation of a fold, and how many rows; empty and 0 if none."""
    if not curve:
        return _NO_BITS
    at_best = first_best(curve)
    try:
        bits = np.frombuffer(bytes.fromhex(at_best.right), dtype=np.uint8)
    except ValueError:
        return _NO_BITS
    return (bits, at_best.rows) if at_best.rows > 0 and len(bits) == -(-at_best.rows // 8) else _NO_BITS
