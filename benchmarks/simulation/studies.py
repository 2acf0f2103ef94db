"""Studies played in memory on a simulated data set, with the product's own samplers and pruners.

Nothing is trained and nothing is stored. Several workers are simulated in time: a trial's clock is its fold-epochs.
"""

import heapq
from collections import deque
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from benchmarks.recordings import EVALUATIONS
from benchmarks.replay import report_estimate
from benchmarks.simulation.samplers import MakeSampler
from benchmarks.simulation.worlds import World
from foldrace.search.ending import IN_A_ROW, Outlook, has_converged
from foldrace.search.race.learning_curves import read_learning_curves, running_estimate
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.readings import read_levels
from foldrace.search.sampler.trends import PriorStudy


class MemoryHistory(InMemoryStorage):
    """A study's trials in memory, in place of the product's history in a database."""

    study_name = "history"

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space
        self.id = self.create_new_study([StudyDirection.MAXIMIZE], self.study_name)

    def refresh(self) -> None:
        """Nothing is elsewhere."""


@dataclass(frozen=True)
class Extent:
    """How far a study goes: so many trials at most, and whether it ends when it has converged."""

    trials: int
    ends_converged: bool = False


@dataclass(frozen=True)
class Step:
    """What is had once a trial has ended.

    Attributes:
        spent: fold-epochs of all workers so far.
        clock: fold-epochs that have gone by on the clock, with all workers at once.
        level: the true value of the configuration that an export would choose now.
    """

    spent: float
    clock: float
    level: float


def play(
    world: World, sampler: MakeSampler, pruner: BasePruner, seed: int, extent: Extent, workers: int = 1
) -> tuple[Step, ...]:
    """Play a study.

    Returns:
        one step for each trial that ended, in their order.
    """
    return _Play(world, sampler, pruner, seed).run(extent, workers)


def played_study(world: World, sampler: MakeSampler, pruner: BasePruner, seed: int, extent: Extent) -> PriorStudy:
    """A study that was played before, as another one may begin from it."""
    played = _Play(world, sampler, pruner, seed)
    played.run(extent, workers=1)
    trials = played.trials()
    curves = [read_learning_curves(trial, world.folds, EVALUATIONS) for trial in trials]
    return PriorStudy("earlier", dict(world.space), [trial.params for trial in trials], read_levels(curves), {})


class _Play:
    def __init__(self, world: World, sampler: MakeSampler, pruner: BasePruner, seed: int) -> None:
        self._world, self._pruner, self._seed = world, pruner, seed
        self._history = MemoryHistory(dict(world.space))
        self._sampler = sampler(self._history, seed)
        self._study = optuna.load_study(
            study_name=self._history.study_name, storage=self._history, sampler=optuna.samplers.RandomSampler(seed=0)
        )
        self._steps: list[Step] = []
        self._spent = 0.0
        self._chosen: tuple[float, int] | None = None
        self._outlooks: deque[Outlook] = deque(maxlen=IN_A_ROW)
        self._level = world.typical  # before a trial is complete, any configuration is as good as another

    def trials(self) -> list[FrozenTrial]:
        """All that there are by now."""
        return self._history.get_all_trials(self._history.id, deepcopy=False)

    def run(self, extent: Extent, workers: int) -> tuple[Step, ...]:
        begun, now = 0, 0.0
        idle, events = list(reversed(range(workers))), list[tuple[float, int, "_Running"]]()
        while True:
            while idle and begun < extent.trials and not (extent.ends_converged and has_converged(self._outlooks)):
                running = self._begin()
                heapq.heappush(events, (now + running.cost, running.number, running))
                idle.pop()
                begun += 1
            if not events:
                return tuple(self._steps)
            now, number, running = heapq.heappop(events)
            self._spent += running.cost
            if self._evaluate(running):
                self._steps.append(Step(self._spent, now, self._level))
                idle.append(number)
            else:
                heapq.heappush(events, (now + running.cost, number, running))

    def _begin(self) -> "_Running":
        trial_id = self._history.create_new_trial(self._history.id)
        frozen = self._history.get_trial(trial_id)
        sample = self._sampler.sample(frozen, self._history.space)
        params = sample.values
        self._outlooks += [] if sample.outlook is None else [sample.outlook]
        for knob, value in params.items():
            distribution = self._world.space[knob]
            self._history.set_trial_param(trial_id, knob, distribution.to_internal_repr(value), distribution)
        return _Running(Trial(self._study, trial_id), self._world, params, self._seed)

    def _evaluate(self, running: "_Running") -> bool:
        """Whether the trial has ended with its next evaluation."""
        running.evaluate()
        number = running.number
        if running.is_whole:
            value = running.run.value
            self._history.set_trial_state_values(running.trial._trial_id, TrialState.COMPLETE, [value])
            if self._chosen is None or (value, -number) > self._chosen:
                self._chosen, self._level = (value, -number), self._world.level(running.run.params)
            return True
        if self._pruner.prune(self._study, self._frozen(running)):
            self._history.set_trial_state_values(running.trial._trial_id, TrialState.PRUNED, [running.last_report])
            return True
        return False

    def _frozen(self, running: "_Running") -> FrozenTrial:
        return self.trials()[running.number]


class _Running:
    """A trial of the study, evaluation by evaluation."""

    def __init__(self, trial: Trial, world: World, params: dict[str, Any], seed: int) -> None:
        self.trial, self.number = trial, trial.number
        self.run = world.train(params, seed, self.number)
        self.cost = self.run.steps[0] / self.run.steps_per_epoch / EVALUATIONS  # fold-epochs to the next evaluation
        self._done = 0

    def evaluate(self) -> None:
        report_estimate(self.trial, self.run, *divmod(self._done, EVALUATIONS))
        self._done += 1

    @property
    def is_whole(self) -> bool:
        return self._done == len(self.run.cells) * EVALUATIONS

    @property
    def last_report(self) -> float:
        """What Optuna takes for the value of a trial that is pruned."""
        fold, index = divmod(self._done - 1, EVALUATIONS)
        best = self.run.best
        return running_estimate(best[:fold, -1].tolist(), float(best[fold, index]), (index + 1) / EVALUATIONS)
