"""How far pruning biases the offsets of the folds that the race estimates, within trials and by its mixed model.

    python -m benchmarks.offset_bias [--studies 60] [--trials 40]
    python -m benchmarks.offset_bias --curves benchmarks/curves/demo.jsonl [--studies 60]

Without curves, all folds of the simulated trials are equally easy: each offset should be 0. With curves, an offset
should be that of the same trials when none is pruned. Each line gives the mean error of each offset in accuracy points,
its standard error over studies, and the root mean square over folds and studies.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from benchmarks.racing import random_orders, without_collapsed
from benchmarks.recordings import EVALUATIONS, Point, Run, read
from benchmarks.replay import replay, report_estimate
from foldrace.search.race.fold_offsets import offsets_within_trials
from foldrace.search.race.forecast import ForecastModel
from foldrace.search.race.learning_curves import LearningCurves, read_learning_curves
from foldrace.search.race.racing import RacingPruner
from foldrace.trainer.arrays import FloatArray

FOLDS = 5
LEVEL_SD, FOLD_SD, KNOB_SHARE = 0.05, 0.03, 0.36  # of a trial and of a fold; the share of a level that a knob explains
CURVE_SD = 0.06  # of an evaluation around the way to the end of its fold
RISE = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0])

Estimator = Callable[[Sequence[LearningCurves]], FloatArray]


class _StudyKeeper(RacingPruner):
    """Keeps the study that it prunes."""

    study: optuna.Study

    def prune(self, study: "optuna.study.Study", trial: FrozenTrial) -> bool:
        self.study = study
        return super().prune(study, trial)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, help="a recording; without one, trials are simulated")
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--trials", type=int, default=40, help="of a simulated study")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    if arguments.curves is None:
        studies = [simulated_runs(arguments.trials, seed) for seed in range(arguments.studies)]
        truths = [np.zeros(FOLDS) for _ in studies]
    else:
        runs = without_collapsed(read(arguments.curves))
        studies = [order.runs for order in random_orders(runs, arguments.studies)]
        truths = [offsets_of(runs) for runs in studies]
    pruned = [pruned_curves(runs) for runs in studies]
    for line in report(pruned, truths):
        print(line)


def report(pruned: Sequence[Sequence[LearningCurves]], truths: Sequence[FloatArray]) -> Iterator[str]:
    """The errors of each estimator over studies."""
    estimators: dict[str, Estimator] = {
        "within trials": lambda trials: offsets_within_trials(np.stack([trial.best[:, -1] for trial in trials])),
        "mixed model": lambda trials: ForecastModel.fit(trials).fold_offsets,
    }
    for name, estimate in estimators.items():
        errors = 100 * (np.array([estimate(trials) for trials in pruned]) - np.array(truths))
        standard_errors = errors.std(axis=0) / np.sqrt(len(errors))
        folds = [
            f"{mean:+.2f} +- {error:.2f}" for mean, error in zip(errors.mean(axis=0), standard_errors, strict=True)
        ]
        yield f"{name:14} {'  '.join(folds)}   rms {np.sqrt((errors**2).mean()):.2f}"


def simulated_runs(trials: int, seed: int) -> tuple[Run, ...]:
    """Trials whose folds are equally easy; one knob explains a part of their levels, another one nothing."""
    random = np.random.default_rng([9, seed])
    runs = []
    for config in range(trials):
        gamma, dropout = random.uniform(size=2)
        by_knob = np.sqrt(12 * KNOB_SHARE) * (gamma - 0.5)
        level = 0.6 + LEVEL_SD * (by_knob + np.sqrt(1 - KNOB_SHARE) * random.normal())
        ends = (level + random.normal(0, FOLD_SD, FOLDS))[:, None]
        noise = random.normal(0, CURVE_SD, (FOLDS, EVALUATIONS)) * (1 - RISE) * np.minimum(1, 0.3 + RISE)
        curves = np.minimum(0.25 + (ends - 0.25) * RISE + noise, ends)
        cells = tuple(tuple(Point(10 * (i + 1), float(v), "", 0) for i, v in enumerate(curve)) for curve in curves)
        runs.append(Run(config, 0, 20, {"gamma": gamma, "dropout": dropout}, cells, (10 * EVALUATIONS,) * FOLDS))
    return tuple(runs)


def offsets_of(runs: Sequence[Run]) -> FloatArray:
    """(folds,), by how much values in a fold lie above the average fold's, where no run is pruned."""
    ends = np.stack([run.best[:, -1] for run in runs])
    offsets: FloatArray = (ends - ends.mean(axis=1, keepdims=True)).mean(axis=0)
    return offsets


def pruned_curves(runs: Sequence[Run]) -> list[LearningCurves]:
    """What racing leaves of a study of these runs."""
    folds = len(runs[0].cells)
    pruner = _StudyKeeper(folds, EVALUATIONS)
    replay(runs, pruner, report_estimate)
    return [read_learning_curves(trial, folds, EVALUATIONS) for trial in pruner.study.get_trials(deepcopy=False)]


if __name__ == "__main__":
    main()
