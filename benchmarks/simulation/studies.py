"""Studies played in memory on a simulated data set, with the product's own samplers and pruners.

Nothing is trained and nothing is stored. Several workers are simulated in time: a trial's clock is its fold-epochs.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import Trial, TrialState

from benchmarks.recordings import EVALUATIONS
from benchmarks.simulation.played import MemoryHistory, PlayedCell, PlayedTrial
from benchmarks.simulation.samplers import MakeSampler
from benchmarks.simulation.worlds import World
from foldrace.search.ending import IN_A_ROW, Outlook, has_converged
from foldrace.search.race.allocation import Begun, Standing, rank_cells
from foldrace.search.race.knowledge_gradient import JointLevels
from foldrace.search.race.learning_curves import read_learning_curves
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.readings import read_levels
from foldrace.search.sampler.trends import PriorStudy
from foldrace.storage.tables import FIRST
from foldrace.studies.study import Search

FINALS = Search().finals


@dataclass(frozen=True)
class Extent:
    """How far a study goes.

    Attributes:
        trials: at most.
        ends_converged: it begins no trial more when it has converged.
        by_folds: folds are trained one by one, as the product ranks them; else each trial to its end.
    """

    trials: int
    ends_converged: bool = False
    by_folds: bool = False


@dataclass(frozen=True)
class Step:
    """What is had once a trial has ended, or a fold of it.

    Attributes:
        spent: fold-epochs of all workers so far.
        clock: fold-epochs that have gone by on the clock, with all workers at once.
        level: the true value of the configuration that an export would choose now.
        trials: that ended, or were put aside.
    """

    spent: float
    clock: float
    level: float
    trials: int


def play(
    world: World, sampler: MakeSampler, pruner: BasePruner, seed: int, extent: Extent, workers: int = 1
) -> tuple[Step, ...]:
    """Play a study.

    Returns:
        one step for each trial that ended, by folds one for each fold, in their order.
    """
    return _play_of(world, sampler, pruner, seed, extent).run(workers)


def played_study(world: World, sampler: MakeSampler, pruner: BasePruner, seed: int, extent: Extent) -> PriorStudy:
    """A study that was played before, as another one may begin from it."""
    played = _play_of(world, sampler, pruner, seed, extent)
    played.run(workers=1)
    trials = played.history.trials
    curves = [read_learning_curves(trial, world.folds, EVALUATIONS) for trial in trials]
    return PriorStudy("earlier", SearchSpace(world.space), [trial.params for trial in trials], read_levels(curves), {})


def _play_of(world: World, sampler: MakeSampler, pruner: BasePruner, seed: int, extent: Extent) -> "_Play":
    return (_FoldPlay if extent.by_folds else _TrialPlay)(world, sampler, pruner, seed, extent)


class _Play:
    """A study that is played; how folds follow each other is said by those below."""

    def __init__(self, world: World, sampler: MakeSampler, pruner: BasePruner, seed: int, extent: Extent) -> None:
        self._world, self._pruner, self._seed, self._extent = world, pruner, seed, extent
        self.history = MemoryHistory(SearchSpace(world.space))
        self._sampler = sampler(self.history, seed)
        self._study = optuna.load_study(
            study_name=self.history.study_name, storage=self.history, sampler=optuna.samplers.RandomSampler(seed=0)
        )
        self._steps: list[Step] = []
        self._spent = 0.0
        self._trials: list[PlayedTrial] = []
        self._outlooks: deque[Outlook] = deque(maxlen=IN_A_ROW)
        self._level = world.typical  # before anything is known, any configuration is as good as another

    def run(self, workers: int) -> tuple[Step, ...]:
        idle, now, events = workers, 0.0, list[tuple[float, int, int, "PlayedCell"]]()
        while True:
            while idle and (cell := self._next()) is not None:
                heapq.heappush(events, (now + cell.trial.cost, cell.trial.number, cell.fold, cell))
                idle -= 1
            if not events:
                return tuple(self._steps)
            now, number, _, cell = heapq.heappop(events)
            self._spent += cell.trial.cost
            if self._evaluate(cell, now):
                idle += 1
            else:
                heapq.heappush(events, (now + cell.trial.cost, number, cell.fold, cell))

    def _next(self) -> "PlayedCell | None":
        """What a worker that is free begins; None: nothing now."""
        raise NotImplementedError

    def _evaluate(self, cell: "PlayedCell", now: float) -> bool:
        """Whether the worker is free after the next evaluation of a fold."""
        raise NotImplementedError

    @property
    def _may_begin(self) -> bool:
        has_ended = self._extent.ends_converged and has_converged(self._outlooks)
        return len(self._trials) < self._extent.trials and not has_ended

    def _begin(self) -> "PlayedTrial":
        trial_id = self.history.create_new_trial(self.history.id)
        sample = self._sampler.sample(self.history.get_trial(trial_id), self.history.space)
        self._outlooks += [] if sample.outlook is None else [sample.outlook]
        for knob, value in sample.values.items():
            distribution = self._world.space[knob]
            self.history.set_trial_param(trial_id, knob, distribution.to_internal_repr(value), distribution)
        trial = PlayedTrial(Trial(self._study, trial_id), self._world.train(sample.values, self._seed, trial_id))
        self._trials.append(trial)
        self.history.training[trial.number] = trial.running
        return trial

    def _is_pruned(self, cell: "PlayedCell") -> bool:
        trial = cell.trial
        if not self._pruner.prune(self._study, self.history.trials[trial.number]):
            return False
        last = trial.estimate(cell.fold, cell.evaluations - 1)
        self.history.set_trial_state_values(trial.trial._trial_id, TrialState.PRUNED, [last])
        trial.has_ended = True
        return True

    def _complete(self, trial: "PlayedTrial") -> None:
        self.history.set_trial_state_values(trial.trial._trial_id, TrialState.COMPLETE, [trial.run.value])
        trial.has_ended = True

    def _choose(self, known: Sequence[int]) -> None:
        """What `export` would take of these trials: the best by what is believed, else by the mean of its folds."""
        posterior = self._sampler.believe(self.history.space)
        leader = None if posterior is None else posterior.levels().leader(known)
        if leader is None:
            leader = max(known, key=self._mean, default=None)
        if leader is not None:
            self._level = self._world.level(self._trials[leader].run.params)

    def _mean(self, number: int) -> float:
        curves = read_learning_curves(self.history.trials[number], self._world.folds, EVALUATIONS)
        return float(np.nanmean(curves.best[:, -1]))


class _TrialPlay(_Play):
    """Each trial is trained to its end by the worker that began it; a complete one is chosen."""

    def _next(self) -> "PlayedCell | None":
        if not self._may_begin:
            return None
        trial = self._begin()
        trial.running.add(FIRST)
        return PlayedCell(trial, FIRST)

    def _evaluate(self, cell: "PlayedCell", now: float) -> bool:
        trial = cell.trial
        cell.evaluate()
        if cell.is_done and len(trial.done) == self._world.folds:
            self._complete(trial)
            self._choose([trial.number for trial in self._trials if len(trial.done) == self._world.folds])
        elif not self._is_pruned(cell):
            if cell.is_done:
                trial.running.discard(cell.fold)
                cell.fold, cell.evaluations = cell.fold + 1, 0
                trial.running.add(cell.fold)
            return False
        trial.running.clear()
        self._steps.append(Step(self._spent, now, self._level, len(self._steps) + 1))
        return True


class _FoldPlay(_Play):
    """Folds follow each other as the product ranks them; one with a fold that is done is chosen."""

    def _next(self) -> "PlayedCell | None":
        for cell in rank_cells(self._standing()):
            trial = self._begin() if cell.trial_id is None else self._trials[cell.trial_id]
            trial.running.add(cell.fold)
            trial.finals += cell.is_final
            return PlayedCell(trial, cell.fold)
        return None

    def _standing(self) -> Standing:
        posterior = self._sampler.believe(self.history.space) if self._trials else None
        return Standing(
            [
                Begun(
                    trial.number,
                    trial.number,
                    trial.epochs,
                    trial.open,
                    has_raced=FIRST in trial.done,
                    is_given=False,
                )
                for trial in self._trials
                if not trial.has_ended
            ],
            JointLevels.nothing() if posterior is None else posterior.levels(),
            frozenset(trial.number for trial in self._trials if len(trial.done) == self._world.folds),
            0.0 if posterior is None else posterior.noise,
            self._outlooks[-1].fold_rise if self._outlooks else None,
            self._may_begin,
            FINALS - sum(trial.finals for trial in self._trials),
        )

    def _evaluate(self, cell: "PlayedCell", now: float) -> bool:
        trial = cell.trial
        cell.evaluate()
        if not cell.is_done and not (cell.fold == FIRST and self._is_pruned(cell)):
            return False
        trial.running.discard(cell.fold)
        if len(trial.done) == self._world.folds:
            self._complete(trial)
        elif cell.is_done and cell.fold == FIRST:
            self._is_pruned(cell)
        self._choose([trial.number for trial in self._trials if trial.done])
        self._steps.append(Step(self._spent, now, self._level, sum(bool(t.done) or t.has_ended for t in self._trials)))
        return True
