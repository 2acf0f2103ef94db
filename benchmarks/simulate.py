"""Simulate searches on data sets fitted to recorded curves: what each strategy finds, and what it spends for it.

    python -m benchmarks.simulate --curves benchmarks/curves/klue_re.jsonl [--strategies tpe,foldrace] [--json]

A world is one possible data set, with a truth of one of two kinds and the recorded noise at full or at half size; all
strategies search the same worlds with the same seeds. The baseline is Optuna's TPE with every trial run to its end.
Shortfall is in accuracy points, below the best possible configuration. A run that was cut off goes on where it ended.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby, product
from multiprocessing import get_context
from pathlib import Path

import optuna

from benchmarks.recordings import CurveError, read
from benchmarks.simulation import report
from benchmarks.simulation.cases import Case, Outcome, Results
from benchmarks.simulation.strategies import STRATEGIES
from benchmarks.simulation.studies import Extent, play
from benchmarks.simulation.truths import TRUTHS
from benchmarks.simulation.worlds import make_world

RESULTS = Path("runs/simulate.jsonl")


@dataclass(frozen=True)
class Plan:
    """What is simulated.

    Attributes:
        curves: the files.
        strategies: their names.
        worlds: of each kind of truth and size of noise.
        seeds: studies on each world.
        workers: numbers of simulated ones.
        trials: of a study, at most.
        baseline: the strategy whose quality is to be reached.
    """

    curves: Sequence[Path]
    strategies: Sequence[str]
    worlds: int
    seeds: int = 1
    truths: Sequence[str] = tuple(TRUTHS)
    noises: Sequence[float] = (1.0, 0.5)
    workers: Sequence[int] = (1,)
    trials: int = 60
    baseline: str = report.BASELINE

    def cases(self) -> list[Case]:
        """All of them, world by world: of a run that is cut off, the first worlds are whole."""
        worlds = product(range(self.worlds), self.curves, self.truths, self.noises, range(self.seeds))
        return [
            Case(str(curves), truth, noise, world, seed, name, workers, STRATEGIES[name].trials or self.trials)
            for world, curves, truth, noise, seed in worlds
            for name in dict.fromkeys([self.baseline, *self.strategies])
            for workers in (self.workers if name != report.BASELINE else sorted({1, *self.workers}))
        ]


def main() -> None:
    arguments = _arguments()
    plan = Plan(*(getattr(arguments, name) for name in Plan.__dataclass_fields__))
    try:
        for path in plan.curves:
            read(path)  # a file that cannot be read is told before the work
        results, cases = Results(arguments.results), plan.cases()
        play_all(cases, results, arguments.jobs)
        compared = arguments.against, plan.baseline
        lines = report.rows({case: results.outcomes[case] for case in cases}, *compared)
    except CurveError as error:
        sys.exit(str(error))
    print("\n".join(report.table(lines, *compared)))
    if arguments.json:
        alone = {line.strategy: line.as_json(plan.baseline) for line in lines if line.workers == plan.workers[0]}
        print(json.dumps({"strategies": alone}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--worlds", type=_positive, default=12, help="of each kind of truth and size of noise")
    parser.add_argument("--seeds", type=_positive, default=1, help="studies on each world")
    parser.add_argument("--strategies", type=_strategies, default=list(STRATEGIES), help=", ".join(STRATEGIES))
    parser.add_argument("--baseline", default=report.BASELINE, help="the strategy whose quality is to be reached")
    parser.add_argument("--against", help="the strategy that shortfalls are compared with; the baseline where none is")
    parser.add_argument("--truths", type=_truths, default=list(TRUTHS), help=", ".join(TRUTHS))
    parser.add_argument("--noises", type=float, nargs="+", default=[1.0, 0.5], help="sizes of the folds' noise")
    parser.add_argument("--workers", type=_positive, nargs="+", default=[1], help="numbers of simulated workers")
    parser.add_argument("--trials", type=_positive, default=60, help="of a study, at most")
    parser.add_argument("--jobs", type=_positive, default=2, help="processes")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where outcomes are kept")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    arguments.against = arguments.against or arguments.baseline
    if arguments.baseline not in STRATEGIES:
        parser.error(f"--baseline {arguments.baseline}: expected of {', '.join(STRATEGIES)}")
    if arguments.against not in (arguments.baseline, *arguments.strategies):
        known = ", ".join((arguments.baseline, *arguments.strategies))
        parser.error(f"--against {arguments.against}: expected of {known}")
    return arguments


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}; expected a number from 1")
    return number


def _strategies(text: str) -> list[str]:
    return _names(text, list(STRATEGIES))


def _truths(text: str) -> list[str]:
    return _names(text, list(TRUTHS))


def _names(text: str, known: Sequence[str]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}; expected of {', '.join(known)}")
    return names


def play_all(cases: Sequence[Case], results: Results, jobs: int) -> None:
    """Play the cases that the results lack, in so many processes; each world's are kept as soon as they are there."""
    missing = results.missing(cases)
    batches = [
        list(batch) for _, batch in groupby(missing, key=lambda case: (case.curves, case.truth, case.noise, case.world))
    ]
    for played in _played(batches, jobs):
        for case, outcome in played:
            results.add(case, outcome)


def _played(batches: Sequence[Sequence[Case]], jobs: int) -> Iterator[list[tuple[Case, Outcome]]]:
    if jobs == 1:
        yield from map(_play_batch, batches)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores among them
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_play_batch, batch) for batch in batches]):
            yield future.result()


def _play_batch(cases: Sequence[Case]) -> list[tuple[Case, Outcome]]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    return list(_outcomes(cases))


def _outcomes(cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome]]:
    """Of cases of one world."""
    first = cases[0]
    world = make_world(Path(first.curves), first.truth, first.noise, first.world)
    for case in cases:
        started, strategy = time.process_time(), STRATEGIES[case.strategy]
        sampler, pruner = strategy.sampler(world, Path(case.curves)), strategy.pruner(world.folds)
        extent = Extent(case.trials, strategy.ends_converged, strategy.by_folds)
        steps = play(world, sampler, pruner, case.study_seed, extent, case.workers)
        outcome = Outcome(
            100 * (world.best - world.typical),
            tuple(step.spent for step in steps),
            tuple(step.clock for step in steps),
            tuple(100 * (world.best - step.level) for step in steps),
            tuple(step.trials for step in steps),
            time.process_time() - started,
        )
        yield case, outcome


if __name__ == "__main__":
    main()
