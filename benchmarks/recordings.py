"""Recorded learning curves, read from JSON lines and laid out as the evaluations that a study would have reported.

The format is in benchmarks/curves/README.md. What does not fit it is refused with the file and the line.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from foldrace.errors import FoldraceError
from foldrace.trainer.arrays import FloatArray

EVALUATIONS = 8  # of a fold; a cell is one of them


class CurveError(FoldraceError):
    """A curve file cannot be replayed."""


@dataclass(frozen=True)
class Point:
    """One evaluation; `right`: the rows that were right, in hexadecimal, of `rows`; empty and 0 where not recorded."""

    step: int
    value: float
    right: str
    rows: int


@dataclass(frozen=True, eq=False)
class Run:
    """One training over all folds.

    Attributes:
        params: the value of each knob that the file has of it.
        cells: (folds, EVALUATIONS), the last recorded point at or before each eighth of a fold; None before the first.
        steps: optimiser steps of each fold.
    """

    config: int
    seed: int
    steps_per_epoch: int
    params: Mapping[str, float | str]
    cells: tuple[tuple[Point | None, ...], ...]
    steps: tuple[int, ...]

    @cached_property
    def best(self) -> FloatArray:
        """(folds, EVALUATIONS), the best so far in each fold; -inf before the first point."""
        values = [[-math.inf if point is None else point.value for point in fold] for fold in self.cells]
        return np.maximum.accumulate(np.array(values), axis=1)

    @property
    def value(self) -> float:
        """What would be the trial's value: the mean over folds of their best evaluations."""
        return float(self.best[:, -1].mean())

    def cost(self, fold: int, cell: int) -> float:
        """Optimiser steps from the trial's start to a cell."""
        return sum(self.steps[:fold]) + self.steps[fold] * (cell + 1) / EVALUATIONS

    @property
    def total_cost(self) -> float:
        return float(sum(self.steps))


def read(path: Path) -> list[Run]:
    """Every run of a curve file.

    Raises:
        CurveError: the file cannot be read, a line is not a run, a fold is missing or empty, runs differ in their
            number of folds, steps do not ascend, or a value is not a finite number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CurveError(f"{path}: cannot be read: {error}") from None
    runs = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            runs.append(_run(line, f"{path}, line {number}"))
            if len(runs[-1].cells) != len(runs[0].cells):
                raise CurveError(
                    f"{path}, line {number}: {len(runs[-1].cells)} folds, "
                    f"but {len(runs[0].cells)} in the first run; all runs need as many"
                )
    if not runs:
        raise CurveError(f"{path}: no runs; expected one JSON object a line")
    return runs


def collapsed_configurations(runs: Sequence[Run]) -> set[int]:
    """The configurations that stayed near the majority class: any rule prunes those.

    The lowest value of all first points is taken for the share of the majority class; a configuration has
    collapsed when none of its runs gained a quarter of what the best run gained over it.
    """
    floor = min(run.best[fold, -1] for run in runs for fold in range(len(run.cells)))
    bar = floor + (max(run.value for run in runs) - floor) / 4
    configs = {run.config for run in runs}
    return {c for c in configs if max(run.value for run in runs if run.config == c) < bar}


def _run(line: str, where: str) -> Run:
    try:
        raw = json.loads(line)
        folds, config, seed = raw["folds"], int(raw["config"]), int(raw["seed"])
        steps_per_epoch, params = int(raw["steps_per_epoch"]), dict(raw.get("params") or {})
    except (ValueError, KeyError, TypeError) as error:
        raise CurveError(
            f"{where}: not a run ({error!r}); expected an object with config, seed, steps_per_epoch and folds"
        ) from None
    if not isinstance(folds, list) or not folds:
        raise CurveError(f"{where}: no folds; expected a list of evaluations for each fold")
    rows = raw.get("rows") or [None] * len(folds)
    if len(rows) != len(folds):
        raise CurveError(f"{where}: rows of {len(rows)} folds, but {len(folds)} folds; expected one number each")
    curves = [_points(f, n, f"{where}, fold {k}") for k, (f, n) in enumerate(zip(folds, rows, strict=True))]
    is_at_evaluations = raw.get("evaluations") == EVALUATIONS
    cells = tuple(_cells(points, is_at_evaluations) for points in curves)
    return Run(
        config, seed, steps_per_epoch, _checked(params, where), cells, tuple(points[-1].step for points in curves)
    )


def _checked(params: dict[str, Any], where: str) -> dict[str, float | str]:
    for name, value in params.items():
        if not isinstance(value, str) and not (isinstance(value, int | float) and math.isfinite(value)):
            raise CurveError(f"{where}: params.{name} is {value!r}; expected a finite number or a text")
    return params


def _points(fold: Any, rows: int | None, where: str) -> list[Point]:
    if not isinstance(fold, list) or not fold:
        raise CurveError(f"{where}: no evaluations; a run must have every fold whole")
    points: list[Point] = []
    for i, raw in enumerate(fold):
        try:
            step, _, value, *rest = raw
            point = Point(int(step), float(value), str(rest[1]) if len(rest) > 1 else "", 0)
        except (TypeError, ValueError):
            raise CurveError(
                f"{where}, evaluation {i}: found {str(raw)[:60]}; expected [step, at_cycle_end, accuracy, loss, bits]"
            ) from None
        if not math.isfinite(point.value):
            raise CurveError(f"{where}, evaluation {i}: the accuracy is {point.value}; expected a finite number")
        if points and point.step <= points[-1].step:
            raise CurveError(
                f"{where}, evaluation {i}: step {point.step} after step {points[-1].step}; steps must ascend"
            )
        points.append(Point(point.step, point.value, point.right, _rows(point, rows, where, i)))
    return points


def _rows(point: Point, rows: int | None, where: str, i: int) -> int:
    """How many rows the bits stand for; where a file does not say, from how many were right, and their share."""
    if not point.right:
        return 0
    try:
        bits = np.frombuffer(bytes.fromhex(point.right), dtype=np.uint8)
    except ValueError:
        raise CurveError(f"{where}, evaluation {i}: the bits are not hexadecimal: {point.right[:20]!r}") from None
    right = int(np.bitwise_count(bits).sum())
    counted = rows if rows is not None else (round(right / point.value) if point.value > 0 else 8 * len(bits))
    if len(bits) != -(-counted // 8):
        raise CurveError(f"{where}, evaluation {i}: {len(bits)} bytes of bits cannot stand for {counted} rows")
    return counted


def _cells(points: list[Point], is_at_evaluations: bool) -> tuple[Point | None, ...]:
    """The cells of a fold: its points as they are if it was recorded at its evaluations, else the ones before each."""
    if is_at_evaluations and len(points) == EVALUATIONS:
        return tuple(points)
    cells: list[Point | None] = []
    for j in range(1, EVALUATIONS + 1):
        until = points[-1].step * j / EVALUATIONS
        cells.append(next((point for point in reversed(points) if point.step <= until), None))
    return tuple(cells)
