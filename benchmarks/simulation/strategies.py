"""The strategies that are compared: what draws a study's trials, and what stops them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import GPSampler

from benchmarks.recordings import EVALUATIONS, read
from benchmarks.simulation.played import MemoryHistory
from benchmarks.simulation.samplers import MakeSampler, StudySampler, gp, stock, tpe
from benchmarks.simulation.studies import Extent, played_study
from benchmarks.simulation.worlds import World, open_recording
from foldrace.search.race.racing import RacingPruner
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.readings import Readings
from foldrace.search.sampler.trends import Priors, PriorStudy

RECORDED = Path(__file__).parents[1] / "curves"
EARLIER = Extent(trials=24, by_folds=True)  # an earlier study of the same data
WHOLE_TRIALS = 36  # of a strategy that runs each trial to its end; more is never asked for


@dataclass(frozen=True)
class Strategy:
    """A way to search.

    Attributes:
        sampler: for a study on a simulated data set, which was fitted to a curve file.
        pruner: for a study of so many folds.
        trials: of a study, at most; None: as many as are asked for.
        ends_converged: it begins no trial more once it has converged.
        by_folds: folds are trained one by one, as the product ranks them.
    """

    sampler: Callable[[World, Path], MakeSampler]
    pruner: Callable[[int], BasePruner]
    trials: int | None = None
    ends_converged: bool = False
    by_folds: bool = False


def _none(folds: int) -> BasePruner:
    return NopPruner()


def _halving(folds: int) -> BasePruner:
    return SuccessiveHalvingPruner(min_resource=EVALUATIONS // 2)  # as the product sets it up


def _racing(folds: int) -> BasePruner:
    return RacingPruner(folds, EVALUATIONS)


def _other_data(curves: Path) -> list[PriorStudy]:
    """The recordings of every other data set."""
    files = [path for path in sorted(RECORDED.glob("*.jsonl")) if data_set(path) != data_set(curves)]
    return [earlier_study(path) for path in files]


def _reversed(curves: Path) -> list[PriorStudy]:
    return [prior.reversed() for prior in _other_data(curves)]


def data_set(curves: Path) -> str:
    """What a file recorded; one with another model, or with another encoder of the same texts, is of the same data."""
    if curves.stem.startswith(("klue_re", "pretrained")):
        return "klue_re"
    return "demo" if curves.stem.startswith("demo") else curves.stem


def earlier_study(curves: Path) -> PriorStudy:
    """A recording as a study that has come to its end, nothing pruned."""
    runs, recording = read(curves), open_recording(curves)
    values = np.array([run.value for run in runs])
    readings = Readings(values, np.full(len(runs), recording.levels.variance))
    return PriorStudy(curves.stem, SearchSpace(recording.space), [run.params for run in runs], readings, {})


def _after_an_earlier_study(world: World) -> MakeSampler:
    """A study of 24 trials of the same data, of another model say, goes before: a trend, not evidence itself."""

    def make(history: MemoryHistory, seed: int) -> StudySampler:
        earlier = played_study(world, gp(world.folds), _racing(world.folds), seed + 1, EARLIER)
        return gp(world.folds, Priors(studies=[earlier]))(history, seed)

    return make


def _folds(sampler: Callable[[World, Path], MakeSampler], ends_converged: bool = False) -> Strategy:
    """As the product searches by default."""
    return Strategy(sampler, _racing, ends_converged=ends_converged, by_folds=True)


STRATEGIES: Mapping[str, Strategy] = {
    "tpe": Strategy(lambda world, curves: tpe, _none, WHOLE_TRIALS),
    "tpe_halving": Strategy(lambda world, curves: tpe, _halving),
    "tpe_racing": Strategy(lambda world, curves: tpe, _racing),
    "gpsampler": Strategy(lambda world, curves: stock(lambda: GPSampler(seed=0)), _none, WHOLE_TRIALS),
    "foldrace": _folds(lambda world, curves: gp(world.folds)),
    "foldrace_trials": Strategy(lambda world, curves: gp(world.folds), _racing),
    "foldrace_converged": _folds(lambda world, curves: gp(world.folds), ends_converged=True),
    "foldrace_prior": _folds(lambda world, curves: gp(world.folds, Priors(studies=_other_data(curves)))),
    "foldrace_again": _folds(lambda world, curves: _after_an_earlier_study(world)),
    "foldrace_reversed": _folds(lambda world, curves: gp(world.folds, Priors(studies=_reversed(curves)))),
}
