"""Play recorded runs through a pruner as one study, by the public Optuna API; several workers are simulated in time.

A trial's clock is its optimiser steps. Nothing is trained, and the pruner sees what it would see in a live study.
"""

import heapq
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.pruners import BasePruner
from optuna.trial import Trial, TrialState

from benchmarks.recordings import EVALUATIONS, Run

WIDE = 20  # a knob whose largest value is so many times its smallest is taken to be searched on a log scale

Report = Callable[[Trial, Run, int, int], bool]  # whether there was something to tell at this cell
Steps = Generator[float, None, tuple[float, bool]]


@dataclass(frozen=True, eq=False)
class Replay:
    """What became of the runs of one study, in their order.

    Attributes:
        spent: (runs,), optimiser steps until the run ended.
        complete: (runs,), it was not pruned.
    """

    spent: NDArray[np.float64]
    complete: NDArray[np.bool_]

    def chosen(self, runs: Sequence[Run]) -> int:
        """The position of the complete run with the highest value."""
        return max(np.flatnonzero(self.complete).tolist(), key=lambda i: (runs[i].value, -i))


def report_estimate(trial: Trial, run: Run, fold: int, index: int) -> bool:
    """What a worker of foldrace reports after each evaluation: a running estimate, and the cell as an attribute."""
    point = run.cells[fold][index]
    if point is None:
        return False
    best = float(run.best[fold, index])
    share = (index + 1) / EVALUATIONS
    estimate = (float(run.best[:fold, -1].sum()) + share * best) / (fold + share)
    record: dict[str, Any] = {"value": point.value, "best": best, "step": point.step, "right": point.right}
    record |= {"rows": point.rows, "epoch": point.step / run.steps_per_epoch}
    trial.set_user_attr(f"fold{fold}/eval{index}", record)
    trial.report(estimate, step=EVALUATIONS * fold + index)
    return True


def report_folds(trial: Trial, run: Run, fold: int, index: int) -> bool:
    """What a rule that looks at whole folds is told: a fold's value, at its end."""
    if index < EVALUATIONS - 1:
        return False
    trial.report(float(run.best[fold, -1]), step=fold)
    return True


def replay(runs: Sequence[Run], pruner: BasePruner, report: Report, workers: int = 1, name: str = "replay") -> Replay:
    """Run a study of these runs, in their order, each started by the first worker that is free.

    Args:
        name: the study's; Hyperband draws its brackets from it.
    """
    study = optuna.create_study(
        study_name=name, direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0)
    )
    spent, complete = np.zeros(len(runs)), np.zeros(len(runs), dtype=np.bool_)
    space, waiting = space_of(runs), iter(range(len(runs)))
    events: list[tuple[float, int, int, Steps]] = []

    def start(now: float, worker: int) -> None:
        position = next(waiting, None)
        if position is not None:
            steps = _trial(study, space, runs[position], report)
            heapq.heappush(events, (now + next(steps), worker, position, steps))

    for worker in range(workers):
        start(0.0, worker)
    while events:
        now, worker, position, steps = heapq.heappop(events)
        try:
            heapq.heappush(events, (now + next(steps), worker, position, steps))
        except StopIteration as ended:
            spent[position], complete[position] = ended.value
            start(now, worker)
    return Replay(spent, complete)


def space_of(runs: Sequence[Run]) -> dict[str, BaseDistribution]:
    """The search space that the runs were drawn from, as far as it can be told from them; of knobs that all have."""
    shared = set.intersection(*(set(run.params) for run in runs))
    return {name: _distribution([run.params[name] for run in runs]) for name in sorted(shared)}


def _distribution(values: Sequence[float | str]) -> BaseDistribution:
    numbers = [float(value) for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return CategoricalDistribution(sorted({str(value) for value in values}))
    low, high = min(numbers), max(numbers)
    return FloatDistribution(low, high, log=low > 0 and high > WIDE * low)


def _trial(study: optuna.Study, space: dict[str, BaseDistribution], run: Run, report: Report) -> Steps:
    """Yields the steps to its next cell; returns what it spent, and whether it was completed."""
    study.enqueue_trial({name: run.params[name] for name in space})
    trial = study.ask(space)
    spent = 0.0
    for fold in range(len(run.cells)):
        for index in range(EVALUATIONS):
            steps = run.steps[fold] / EVALUATIONS
            yield steps
            spent += steps
            is_told = report(trial, run, fold, index)
            is_last = fold == len(run.cells) - 1 and index == EVALUATIONS - 1
            if is_told and not is_last and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return spent, False
    study.tell(trial, run.value)
    return spent, True
