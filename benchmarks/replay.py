"""Replay recorded runs as one study with a pruner, by the public Optuna API, with several workers simulated in time.

Time is measured in optimiser steps. Nothing is trained, and the pruner sees what it would see in a live study.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from benchmarks.curve_sources import is_log_scale
from benchmarks.recordings import EVALUATIONS, CurveError, Point, Run
from foldrace.search.race.learning_curves import running_estimate
from foldrace.storage.optuna_rows import cell_key

# The scale of each knob: of ours as they are drawn, of those in recordings of another format as their values show it.
IS_LOG_SCALE = is_log_scale() | {"min_lr_ratio": True, "warmup": False}

Report = Callable[[Trial, Run, int, int], bool]  # of a trial, its run, fold and evaluation: whether it reported


@dataclass(frozen=True, eq=False)
class Replay:
    """How the runs of one study ended, in their order.

    Attributes:
        spent: (runs,), optimiser steps until the run ended.
        complete: (runs,), it was not pruned.
    """

    spent: NDArray[np.float64]
    complete: NDArray[np.bool_]

    def best_run(self, runs: Sequence[Run]) -> int:
        """The position of the complete run with the highest value."""
        return max(np.flatnonzero(self.complete).tolist(), key=lambda i: (runs[i].value, -i))


def report_estimate(trial: Trial, run: Run, fold: int, index: int) -> bool:
    """Report an evaluation as a worker of foldrace does: a running estimate, and the record as an attribute."""
    point = run.cells[fold][index]
    if point is None:
        return False
    best = float(run.best[fold, index])
    estimate = running_estimate(run.best[:fold, -1].tolist(), best, (index + 1) / EVALUATIONS)
    trial.set_user_attr(cell_key(fold, index), _record(run, fold, index, point))
    trial.report(estimate, step=EVALUATIONS * fold + index)
    return True


def _record(run: Run, fold: int, index: int, point: Point) -> dict[str, Any]:
    record = {"value": point.value, "best": float(run.best[fold, index]), "step": point.step, "right": point.right}
    return record | {"rows": point.rows, "epoch": point.step / run.steps_per_epoch}


def complete_trials(runs: Sequence[Run]) -> list[FrozenTrial]:
    """The trials of a study of these runs in which nothing was pruned."""
    space = search_space_of(runs)
    return [
        create_trial(
            value=run.value,
            params={name: run.params[name] for name in space},
            distributions=space,
            user_attrs={
                cell_key(fold, index): _record(run, fold, index, point)
                for fold, cells in enumerate(run.cells)
                for index, point in enumerate(cells)
                if point is not None
            },
        )
        for run in runs
    ]


def report_folds(trial: Trial, run: Run, fold: int, index: int) -> bool:
    """Report the value of a fold at its end, for a rule that looks at whole folds."""
    if index < EVALUATIONS - 1:
        return False
    trial.report(float(run.best[fold, -1]), step=fold)
    return True


@dataclass(frozen=True)
class Simulation:
    """How a study is simulated.

    Attributes:
        study_name: Hyperband draws its brackets from it.
        max_paused: so many trials at most are paused at the end of a fold, in favour of one that waits or one that is
            better; the best of them is resumed when nothing waits or there is no more room. No pruner can do that, only
            a queue.
    """

    workers: int = 1
    study_name: str = "replay"
    max_paused: int = 0


def replay(runs: Sequence[Run], pruner: BasePruner, report: Report, simulation: Simulation = Simulation()) -> Replay:
    """Run a study of these runs, in their order, each started by the first worker that is free."""
    study = optuna.create_study(
        study_name=simulation.study_name,
        direction="maximize",
        pruner=pruner,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    played = [_ReplayedTrial(study, run, report) for run in runs]
    queue = _Queue(played, search_space_of(runs), simulation.max_paused)
    events: list[tuple[float, int, int]] = []
    idle, now = list(reversed(range(simulation.workers))), 0.0
    while True:
        while idle and (position := queue.take()) is not None:
            heapq.heappush(events, (now + played[position].cost, idle.pop(), position))
        if not events:
            break
        now, worker, position = heapq.heappop(events)
        if played[position].evaluate() or queue.pauses(position):
            idle.append(worker)
        else:
            heapq.heappush(events, (now + played[position].cost, worker, position))
    return Replay(np.array([each.spent for each in played]), np.array([each.complete for each in played]))


def search_space_of(runs: Sequence[Run]) -> dict[str, BaseDistribution]:
    """The search space of the runs: the knobs that all have, each on the scale that it was drawn on.

    Raises:
        CurveError: the scale of a knob is not stated.
    """
    shared = set.intersection(*(set(run.params) for run in runs))
    return {name: _distribution(name, [run.params[name] for run in runs]) for name in sorted(shared)}


def _distribution(knob: str, values: Sequence[float | str]) -> BaseDistribution:
    numbers = [float(value) for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return CategoricalDistribution(sorted({str(value) for value in values}))
    if knob not in IS_LOG_SCALE:
        raise CurveError(
            f"params.{knob}: no scale is stated for this knob; state it in benchmarks/replay.py, IS_LOG_SCALE"
        )
    return FloatDistribution(min(numbers), max(numbers), log=IS_LOG_SCALE[knob])


class _ReplayedTrial:
    """A run as a trial of a study, evaluation by evaluation."""

    def __init__(self, study: optuna.Study, run: Run, report: Report) -> None:
        self._study, self._run, self._report = study, run, report
        self._done, self.spent, self.complete = 0, 0.0, False

    def begin(self, space: dict[str, BaseDistribution]) -> None:
        self._study.enqueue_trial({name: self._run.params[name] for name in space})
        self._trial = self._study.ask(space)

    @property
    def cost(self) -> float:
        """Optimiser steps to the next evaluation."""
        return self._run.steps[self._done // EVALUATIONS] / EVALUATIONS

    @property
    def is_between_folds(self) -> bool:
        return self._done % EVALUATIONS == 0

    @property
    def estimate(self) -> float:
        """The mean of the folds done."""
        return float(self._run.best[: self._done // EVALUATIONS, -1].mean())

    def evaluate(self) -> bool:
        """Whether the trial has ended with its next evaluation."""
        fold, index = divmod(self._done, EVALUATIONS)
        self.spent += self.cost
        self._done += 1
        has_reported = self._report(self._trial, self._run, fold, index)
        if self._done < len(self._run.cells) * EVALUATIONS:
            return has_reported and self.is_pruned()
        self._study.tell(self._trial, self._run.value)
        self.complete = True
        return True

    def is_pruned(self) -> bool:
        """Whether the study's pruner stops the trial where it stands."""
        if not self._trial.should_prune():
            return False
        self._study.tell(self._trial, state=TrialState.PRUNED)
        return True


class _Queue:
    """The runs that wait, in their order, and those that are paused, by position: which one a free worker takes."""

    def __init__(self, played: Sequence[_ReplayedTrial], space: dict[str, BaseDistribution], max_paused: int) -> None:
        self._played, self._space, self._max_paused = played, space, max_paused
        self._waiting, self._paused = deque(range(len(played))), set[int]()

    def take(self) -> int | None:
        """The best paused one if nothing waits or there is no more room, else the next one; None if there is none."""
        while self._paused and not self._has_room:
            best = max(self._paused, key=lambda position: self._played[position].estimate)
            self._paused.remove(best)
            if not self._played[best].is_pruned():  # others have shown more meanwhile
                return best
        if not self._waiting:
            return None
        self._played[self._waiting[0]].begin(self._space)
        return self._waiting.popleft()

    def pauses(self, position: int) -> bool:
        """Pause a run that goes on, if it has to make way here; whether it was paused."""
        if not (self._max_paused and self._played[position].is_between_folds):
            return False
        estimate = self._played[position].estimate
        makes_way = self._has_room or any(self._played[other].estimate > estimate for other in self._paused)
        if makes_way:
            self._paused.add(position)
        return makes_way

    @property
    def _has_room(self) -> bool:
        """Whether one that waits may begin in place of one that is paused."""
        return bool(self._waiting) and len(self._paused) < self._max_paused
