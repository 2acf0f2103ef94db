"""Which fold is trained next: the one that can be expected to improve the choice most for what it costs.

The first fold of a new trial and a further fold of one that has begun are held against each other by the same measure:
the knowledge gradient, by which the mean of the best trial can be expected to rise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foldrace.search.race.knowledge_gradient import JointLevels
from foldrace.storage.leases.taking import Cell
from foldrace.storage.tables import FIRST

FEWEST_LEVELS = 4  # that are known, before the first leader is made whole: it tells how folds scatter, and is to be had
CLEAR = 0.95  # the probability to be better than each other trial, from which on the leader is clear


@dataclass(frozen=True)
class Begun:
    """A trial that has begun and not ended.

    Attributes:
        cost: of a fold, in epochs.
        open: folds that are not begun; none before the first fold is done.
        has_raced: its first fold is done, so that it can be chosen.
        is_given: its values were given: all its folds are trained, whatever is believed.
    """

    trial_id: int
    number: int
    cost: float
    open: tuple[int, ...]
    has_raced: bool
    is_given: bool


@dataclass(frozen=True)
class Standing:
    """How a search stands.

    Attributes:
        levels: what is believed of the levels of the trials, of those that ended too; of none at the start.
        complete: the numbers of those that are trained whole.
        fold_variance: of the end of a fold around its trial's level; 0 while too few folds tell it.
        rise: by how much the first fold of a new trial can be expected to raise the best mean; None while unknown.
        waits: trials wait that may be begun.
        finals: folds that the finalists may still get once none waits.
        reached: numbers of trials whose folds so far have the target of the search; made whole, such a trial ends it.
    """

    begun: Sequence[Begun]
    levels: JointLevels
    complete: frozenset[int]
    fold_variance: float
    rise: float | None
    waits: bool
    finals: int
    reached: frozenset[int] = frozenset()


def rank_cells(now: Standing) -> list[Cell]:
    """The folds to train, the most promising first; none: the search is at its end, but for what is trained now."""
    whole = [one for one in now.begun if one.is_given]
    whole += [one for one in now.begun if one.number in now.reached and not one.is_given]
    given = [Cell(trial.trial_id, fold) for trial in whole for fold in trial.open]
    known = [trial for trial in now.begun if trial.open and trial not in whole]
    worth = now.levels.worth_of_folds(now.fold_variance)
    scored = [(worth[trial.number] / trial.cost, trial) for trial in known if trial.number in worth]
    scored.sort(key=lambda one: (-one[0], one[1].number))
    leader = _leader(now)
    if now.waits:
        better = [trial for score, trial in scored if score > _worth_of_a_new_one(now)]
        if not now.complete and len(worth) >= FEWEST_LEVELS:
            better = [trial for trial in known if trial.number == leader]
        return [*given, *map(_next_cell, better), Cell(None, FIRST)]
    finalists = _finalists(leader, now) if now.finals > 0 else frozenset[int]()
    finals = [trial for _, trial in scored if trial.number in finalists]
    missing = [Cell(trial.trial_id, fold) for trial in known if trial.number == leader for fold in trial.open]
    return [*given, *(_next_cell(trial, is_final=True) for trial in finals), *missing]


def _next_cell(trial: Begun, is_final: bool = False) -> Cell:
    return Cell(trial.trial_id, trial.open[0], is_final)


def _worth_of_a_new_one(now: Standing) -> float:
    if now.rise is None or not now.begun:
        return math.inf
    return now.rise / (sum(trial.cost for trial in now.begun) / len(now.begun))


def _leader(now: Standing) -> int | None:
    """The number of the trial with the highest level, of those that can be chosen; the first where none is known."""
    ours = now.complete | {trial.number for trial in now.begun if trial.has_raced or trial.is_given}
    leader = now.levels.leader(ours)
    return min(ours, default=None) if leader is None else leader


def _finalists(leader: int | None, now: Standing) -> frozenset[int]:
    """The numbers of the leader and of those that may be better; none where the leader is clear.

    Only trials that can be chosen count: one that was stopped gets no fold, and so can never be told apart.
    """
    levels, known = now.levels, frozenset(now.levels.numbers)
    ours = known & (now.complete | {trial.number for trial in now.begun})
    if leader is None or leader not in known:
        return ours
    rivals = {other for other in ours - {leader} if levels.probability_of_beating(leader, other) < CLEAR}
    return frozenset({leader, *rivals} if rivals else ())
