"""What simulated studies show: shortfall against fold-epochs, and what each strategy spends for the same quality."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from sklearn.isotonic import isotonic_regression

from benchmarks.simulation.cases import Case, Outcome
from foldrace.trainer.arrays import FloatArray

BASELINE = "tpe"
FRACTIONS = (0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0)  # of the baseline's fold-epochs, at which shortfalls are shown
GRID, MOST = 1200, 3.0  # points of a curve, up to so many times the baseline's fold-epochs
RESAMPLES = 200  # of worlds
TRIALS = (24, 36)  # of the baseline, whose shortfalls are to be reached

Cell = tuple[str, str, float]  # curves, truth, noise


@dataclass(frozen=True, eq=False)
class Study:
    """A strategy's outcome on one world with one seed, beside the baseline's and another strategy's."""

    case: Case
    outcome: Outcome
    baseline: Outcome
    other: Outcome

    def shortfall_at(self, spent: FloatArray) -> FloatArray:
        """The chosen configuration's, after so many fold-epochs."""
        index = np.searchsorted(np.array(self.outcome.spent), spent, side="right")
        found: FloatArray = np.array([self.outcome.start, *self.outcome.shortfalls])[index]
        return found


@dataclass(frozen=True)
class Row:
    """A strategy's line: means over cells of files, truths and noise sizes.

    A cell that is never reached counts `MOST`; with few worlds in a cell, `ratios` is mostly that. `pooled` says what
    all worlds together say.

    Attributes:
        ratios: for each of `TRIALS`, fold-epochs to reach the baseline's shortfall after so many trials, over what the
            baseline spent on 24.
        error: the standard error of the first ratio, over worlds and seeds.
        worst: the highest first ratio of a cell.
        pooled: the first ratio, of all worlds as one cell; with an 80 % interval by bootstrap over worlds.
        shortfalls: at `FRACTIONS` of what the baseline spends on 24 trials.
        differences: paired, of these from those of the strategy that it is compared with, with their standard errors.
        shortfall_24, fold_epochs_24, se: after 24 trials of its own.
        shortfall_end, fold_epochs_end: of the whole study.
        clock_24, clock_end: fold-epochs on the clock until either.
    """

    strategy: str
    workers: int
    studies: int
    ratios: tuple[float, ...]
    error: float
    worst: float
    fold_epochs_to: float
    pooled: tuple[float, float, float]
    shortfalls: tuple[float, ...]
    differences: tuple[tuple[float, float], ...]
    shortfall_24: float
    se: float
    fold_epochs_24: float
    clock_24: float
    shortfall_end: float
    fold_epochs_end: float
    clock_end: float

    def as_json(self, baseline: str = BASELINE) -> dict[str, Any]:
        """As `--json` prints it; null where one world alone tells no error."""
        found: dict[str, Any] = {
            f"ratio_to_{baseline}24": round(self.ratios[0], 4),
            "ratio_se": round(self.error, 4),
            "worst_ratio": round(self.worst, 4),
            "pooled_ratio": round(self.pooled[0], 4),
            "pooled_low": round(self.pooled[1], 4),
            "pooled_high": round(self.pooled[2], 4),
            f"fold_epochs_to_{baseline}24": round(self.fold_epochs_to, 1),
            "fold_epochs_24": round(self.fold_epochs_24, 1),
            "shortfall_24": round(self.shortfall_24, 3),
            "se": round(self.se, 3),
            "shortfall_end": round(self.shortfall_end, 3),
            "fold_epochs_end": round(self.fold_epochs_end, 1),
            "clock_end": round(self.clock_end, 1),
            f"ratio_to_{baseline}36": round(self.ratios[1], 4),
        }
        found = {key: None if math.isnan(value) else value for key, value in found.items()}
        shortfalls = zip(FRACTIONS, self.shortfalls, strict=True)
        return found | {"shortfall_at": {f"{at:g}": round(value, 3) for at, value in shortfalls}}


def rows(outcomes: Mapping[Case, Outcome], against: str = BASELINE, baseline: str = BASELINE) -> list[Row]:
    """A line for each strategy and number of workers, as far as the baseline was played on the same worlds.

    Args:
        against: the strategy that shortfalls are compared with, world by world.
        baseline: the strategy whose shortfalls are to be reached; with one worker, or the fewest that were simulated.
    """
    fewest = {name: min((c.workers for c in outcomes if c.strategy == name), default=1) for name in (baseline, against)}
    baselines, others = (
        {_paired(case): o for case, o in outcomes.items() if case.strategy == name and case.workers == fewest[name]}
        for name in (baseline, against)
    )
    studies = [
        Study(case, outcome, baselines[_paired(case)], others[_paired(case)])
        for case, outcome in outcomes.items()
        if _paired(case) in baselines and _paired(case) in others
    ]
    names = list(dict.fromkeys((study.case.strategy, study.case.workers) for study in studies))
    return [_row(name, [s for s in studies if (s.case.strategy, s.case.workers) == name]) for name in names]


def _paired(case: Case) -> tuple[Cell, int, int]:
    return (case.curves, case.truth, case.noise), case.world, case.seed


def _row(name: tuple[str, int], studies: list[Study]) -> Row:
    studies = sorted(studies, key=lambda study: _paired(study.case))
    cells = [list(group) for _, group in groupby(studies, key=lambda study: _paired(study.case)[0])]
    found = np.array([[_ratio(cell, trials) for trials in TRIALS] for cell in cells])
    spent = np.array([_spent_24(cell) for cell in cells])
    shortfalls = np.array([study.shortfall_at(np.array(FRACTIONS) * _spent_24([study])) for study in studies])
    others = [replace(study, outcome=study.other) for study in studies]
    compared = np.array([study.shortfall_at(np.array(FRACTIONS) * _spent_24([study])) for study in others])
    after = np.array([(*_after_24(study.outcome), *_at_end(study.outcome)) for study in studies])
    return Row(
        *name,
        len(studies),
        tuple(found.mean(axis=0).tolist()),
        _ratio_error(cells),
        float(found[:, 0].max()),
        float((found[:, 0] * spent).mean()),
        _pooled(studies),
        tuple(shortfalls.mean(axis=0).tolist()),
        tuple(zip((shortfalls - compared).mean(axis=0).tolist(), _error(shortfalls - compared).tolist(), strict=True)),
        *(float(v) for v in (after[:, 0].mean(), _error(after[:, 0]), *after[:, 1:].mean(axis=0))),
    )


def _after_24(outcome: Outcome) -> tuple[float, float, float]:
    """Shortfall, fold-epochs and clock after 24 trials, or after all where there are fewer."""
    at = next((step for step, trials in enumerate(outcome.trials) if trials >= TRIALS[0]), len(outcome.trials) - 1)
    return outcome.shortfalls[at], outcome.spent[at], outcome.clock[at]


def _at_end(outcome: Outcome) -> tuple[float, float, float]:
    """Shortfall, fold-epochs and clock."""
    return outcome.shortfalls[-1], outcome.spent[-1], outcome.clock[-1]


def _spent_24(cell: Sequence[Study]) -> float:
    return float(np.mean([_after_24(study.baseline)[1] for study in cell]))


def _ratio(cell: Sequence[Study], trials: int) -> float:
    """Fold-epochs until the mean shortfall of the cell is the baseline's after so many trials, over those of 24.

    The mean over worlds is made to fall throughout first (pool adjacent violators), lest a moment's luck counts. A
    strategy that does not get there within `MOST` counts as `MOST`.
    """
    if cell[0].outcome is cell[0].baseline and trials == TRIALS[0]:
        return 1.0
    wanted = np.mean([s.baseline.shortfalls[min(trials, len(s.baseline.spent)) - 1] for s in cell])
    grid = np.linspace(0, MOST, GRID + 1)
    curve = np.mean([s.shortfall_at(grid * _spent_24([s])) for s in cell], axis=0)
    reached = np.flatnonzero(isotonic_regression(curve, increasing=False) <= wanted + 1e-9)
    return float(grid[reached[0]]) if len(reached) else MOST


def _ratio_error(cells: Sequence[Sequence[Study]]) -> float:
    """The jackknife's, over the worlds of each cell."""
    variance = 0.0
    for cell in cells:
        if len(cell) < 2:
            return float("nan")
        without = [_ratio([*cell[:i], *cell[i + 1 :]], TRIALS[0]) for i in range(len(cell))]
        variance += (len(cell) - 1) * float(np.var(without))
    return float(np.sqrt(variance)) / len(cells)


def _pooled(studies: Sequence[Study]) -> tuple[float, float, float]:
    random = np.random.default_rng(0)
    drawn = [
        _ratio([studies[i] for i in random.integers(len(studies), size=len(studies))], TRIALS[0])
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, [0.1, 0.9])
    return _ratio(studies, TRIALS[0]), float(low), float(high)


def _error(values: FloatArray) -> FloatArray:
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    found: FloatArray = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return found


def table(lines: Sequence[Row], against: str = BASELINE, baseline: str = BASELINE) -> list[str]:
    """The lines of a report in text."""
    head = "  ".join(f"{at:>6.0%}" for at in FRACTIONS)
    found = [
        f"fold-epochs to the shortfall of {baseline} after 24 trials, over its own: of all worlds as one, with an 80 %",
        "interval; mean over cells, its standard error, the worst cell; and to that after 36. Then what is had after",
        "24 trials, and at the end; the clock is in fold-epochs too.",
        f"{'strategy':20} {'workers':>7} {'studies':>7}  {'pooled':>18} {'cells':>14} {'worst':>6} {'to 36':>6} "
        f"{'at 24':>12} {'epochs':>7} {'clock':>7} {'at end':>6} {'epochs':>7} {'clock':>7}",
        *(
            f"{row.strategy:20} {row.workers:7} {row.studies:7}  {row.pooled[0]:5.3f} [{row.pooled[1]:.2f}, "
            f"{row.pooled[2]:.2f}] {row.ratios[0]:6.3f} ± {row.error:.3f} {row.worst:6.2f} {row.ratios[1]:6.3f} "
            f"{row.shortfall_24:5.2f} ± {row.se:.2f} {row.fold_epochs_24:7.0f} {row.clock_24:7.0f} "
            f"{row.shortfall_end:6.2f} {row.fold_epochs_end:7.0f} {row.clock_end:7.0f}"
            for row in lines
        ),
        "",
        f"shortfall in points at fractions of the fold-epochs of {baseline} after 24 trials; below, less {against}'s,",
        "paired, and its error",
        f"{'strategy':20} {'workers':>7}   {head}",
    ]
    for row in lines:
        found.append(f"{row.strategy:20} {row.workers:7}   " + "  ".join(f"{v:6.2f}" for v in row.shortfalls))
        found.append(" " * 31 + "  ".join(f"{mean:+6.2f}" for mean, _ in row.differences))
        found.append(" " * 31 + "  ".join(f"{f'±{error:.2f}':>6}" for _, error in row.differences))
    return found
