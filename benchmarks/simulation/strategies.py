"""The strategies that are compared: what draws a study's trials, and what stops them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner

from benchmarks.recordings import EVALUATIONS
from benchmarks.simulation.samplers import Sampler, Stock, Tpe
from foldrace.search.race.racing import RacingPruner

WHOLE_TRIALS = 36  # of a strategy that runs each trial to its end; more is never asked for


@dataclass(frozen=True)
class Strategy:
    """A way to search.

    Attributes:
        sampler: for a study of so many folds, on a data set that was fitted to a curve file.
        pruner: for a study of so many folds.
        trials: of a study, at most; None: as many as are asked for.
    """

    sampler: Callable[[int, Path], Sampler]
    pruner: Callable[[int], BasePruner]
    trials: int | None = None


def _none(folds: int) -> BasePruner:
    return NopPruner()


def _halving(folds: int) -> BasePruner:
    return SuccessiveHalvingPruner(min_resource=EVALUATIONS // 2)  # as the product sets it up


def _racing(folds: int) -> BasePruner:
    return RacingPruner(folds, EVALUATIONS)


def _tpe(folds: int, curves: Path) -> Sampler:
    return Tpe()


def _optunas_gp(folds: int, curves: Path) -> Sampler:
    return Stock(optuna.samplers.GPSampler(seed=0))


STRATEGIES: Mapping[str, Strategy] = {
    "tpe": Strategy(_tpe, _none, WHOLE_TRIALS),
    "tpe_halving": Strategy(_tpe, _halving),
    "tpe_racing": Strategy(_tpe, _racing),
    "gpsampler": Strategy(_optunas_gp, _none, WHOLE_TRIALS),
}
