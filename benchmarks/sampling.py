"""How long it takes to sample a trial by the Gaussian process, by the number of trials there are.

    python -m benchmarks.sampling [--trials 24 60 500] [--json]

CPU seconds of one process on one thread, the least of a few, each by a sampler that has learnt nothing yet; a quarter
of the trials are complete, the others were pruned in their first or second fold. Reading them from the database is not
part of it.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is loaded

import numpy as np
from optuna.trial import FrozenTrial, create_trial

from benchmarks.recordings import EVALUATIONS
from benchmarks.simulation.worlds import World, make_world
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.cube import Cube
from foldrace.search.sampler.gp import GpSampler

CURVES = Path(__file__).parent / "curves" / "klue_re.jsonl"
REPEATS = 5
TARGET = 0.2  # seconds, with 500 trials


class GivenCurves:
    """Curves that are there already, by the number of their trial."""

    def __init__(self, curves: Sequence[LearningCurves]) -> None:
        self._curves = curves

    def read(self, trials: Sequence[FrozenTrial]) -> list[LearningCurves]:
        """The curves of each of the trials."""
        return [self._curves[trial.number] for trial in trials]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[24, 60, 500])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    world = make_world(CURVES, "trees", 1.0, 0)
    trials, curves = _study(world, max(arguments.trials))
    found = {count: _seconds(world, trials[:count], curves) for count in arguments.trials}
    for count, seconds in found.items():
        print(f"{count:5} trials: {1000 * seconds:6.1f} ms a sample")
    if arguments.json:
        print(json.dumps({"seconds": found, "target_500": TARGET}))


def _study(world: World, count: int) -> tuple[list[FrozenTrial], list[LearningCurves]]:
    random, cube, space = np.random.default_rng(0), Cube(SearchSpace(world.space)), SearchSpace(world.space)
    trials, curves = [], []
    for number in range(count):
        params = cube.params(random.random(cube.knobs))
        run = world.train(params, 0, number)
        best = run.best.copy()
        if number % 4:
            running = int(random.integers(2))
            best[running, EVALUATIONS // 2 :], best[running + 1 :] = np.nan, np.nan
        trial = create_trial(value=run.value, params=params, distributions=space)
        trial.number = number
        trials.append(trial)
        nothing = (np.empty(0, np.uint8),) * world.folds
        curves.append(LearningCurves(number, best, nothing, (0,) * world.folds, {}))
    return trials, curves


def _seconds(world: World, trials: Sequence[FrozenTrial], curves: Sequence[LearningCurves]) -> float:
    seconds = []
    for repeat in range(REPEATS):
        sampler = GpSampler(GivenCurves(curves))
        started = time.process_time()
        sampler.sample(trials, len(trials) + repeat, SearchSpace(world.space), 0)
        seconds.append(time.process_time() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
