"""T18: a long random history of workers that claim, report, freeze, die and come back, watched by a checker.

The workers are one process's, and their clock is moved: a history of days takes minutes, and the same seed gives it
again.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import optuna

from foldrace.search.trials.claims import Claim, LeaseLost, Trials
from foldrace.search.trials.heartbeat import HeartbeatSettings
from foldrace.storage.database import Database
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.study import Study
from tests.support.records import record_at

LEASE, HEARTBEAT = 60.0, 10.0  # seconds
WORKERS, TRIALS_A_HUNDRED_STEPS = 6, 12


@dataclass
class Actor:
    """One worker process: dead ones are replaced; frozen ones wake up later and go on as if nothing had been."""

    trials: Trials
    claim: Claim | None = None
    frozen_until: float = 0.0


@dataclass
class Checker:
    """What must be true of the trials, from what the actors were told."""

    owner: dict[int, Actor] = field(default_factory=dict)
    last_beat: dict[int, float] = field(default_factory=dict)
    free: set[int] = field(default_factory=set)
    acknowledged: dict[int, dict[int, float]] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)

    def claimed(self, actor: Actor, claim: Claim, now: float) -> None:
        number = claim.number
        assert number not in self.ended, f"trial {number} was claimed after its end"
        if number in self.owner and number not in self.free:
            assert now - self.last_beat[number] >= LEASE, f"trial {number} was taken from a living worker"
        assert {8 * f + e for f, e in claim.evaluations} == set(self.acknowledged.get(number, {}))
        self.owner[number] = actor
        self.last_beat[number] = now
        self.free.discard(number)

    def wrote(self, actor: Actor, number: int) -> None:
        assert self.owner[number] is actor, f"trial {number} took a write of a worker that had lost it"
        assert number not in self.ended

    def refused(self, actor: Actor, number: int) -> None:
        assert self.owner[number] is not actor or number in self.ended, f"trial {number} refused its own worker"


class History:
    """Takes one random step after another; a step that breaks a promise raises AssertionError."""

    def __init__(self, database: Database, study: Study, seed: int) -> None:
        self.database, self.study, self.random = database, study, random.Random(seed)
        self.now = 0.0
        self.checker, self.done = Checker(), Counter[str]()
        self.actors = [self.newcomer() for _ in range(WORKERS)]

    def newcomer(self) -> Actor:
        trials = Trials(self.database, self.study, WorkerIdentity(), heartbeat=HeartbeatSettings(0, lambda: self.now))
        return Actor(trials)

    def run(self, steps: int) -> None:
        """So many steps, and then a look at what the database holds."""
        for _ in range(steps):
            self.step()
        self.check()

    def step(self) -> None:
        self.now += self.random.choice((1, 5, 10))
        # A process that lives has a heart that beats; one that is frozen, or dead, has not.
        for actor in self.actors:
            claim = actor.claim
            if claim is not None and actor.frozen_until <= self.now and self.is_due(claim):
                self.beat(actor, claim)
        actor = self.random.choice(self.actors)
        if actor.frozen_until > self.now:
            return
        if actor.claim is None:
            self.take(actor)
        else:
            action = self.random.choices(
                (self.report, self.checkpoint, self.end, self.let_go, self.freeze, self.die), (50, 10, 10, 5, 5, 8)
            )[0]
            self.done[action.__name__] += 1
            action(actor, actor.claim)

    def is_due(self, claim: Claim) -> bool:
        return self.now - self.checker.last_beat[claim.number] >= HEARTBEAT

    def take(self, actor: Actor) -> None:
        actor.claim = actor.trials.claim()
        if actor.claim is not None:
            self.done["claim"] += 1
            self.checker.claimed(actor, actor.claim, self.now)

    def beat(self, actor: Actor, claim: Claim) -> None:
        if claim.beat():
            self.checker.wrote(actor, claim.number)
            self.checker.last_beat[claim.number] = self.now
        else:
            self.checker.refused(actor, claim.number)
            actor.claim = None

    def report(self, actor: Actor, claim: Claim) -> None:
        step = self.random.randrange(24)
        try:
            claim.report(step // 8, step / 24, record_at(step % 8, step / 24))
        except LeaseLost:
            self.checker.refused(actor, claim.number)
            actor.claim = None
            return
        self.checker.wrote(actor, claim.number)
        self.checker.acknowledged.setdefault(claim.number, {})[step] = step / 24

    def checkpoint(self, actor: Actor, claim: Claim) -> None:
        try:
            claim.note_checkpoint()
        except LeaseLost:
            self.checker.refused(actor, claim.number)
            actor.claim = None

    def end(self, actor: Actor, claim: Claim) -> None:
        state = self.random.choice(("COMPLETE", "PRUNED", "FAIL"))
        ends: dict[str, Callable[[], bool]] = {
            "COMPLETE": lambda: claim.finish(0.5),
            "PRUNED": lambda: claim.prune("worse"),
            "FAIL": lambda: claim.fail("broken"),
        }
        if ends[state]():
            self.checker.wrote(actor, claim.number)
            self.checker.ended[claim.number] = state
        else:
            self.checker.refused(actor, claim.number)
        actor.claim = None

    def let_go(self, actor: Actor, claim: Claim) -> None:
        claim.release()
        if self.checker.owner[claim.number] is actor:
            self.checker.free.add(claim.number)
        actor.claim = None

    def freeze(self, actor: Actor, _: Claim) -> None:
        actor.frozen_until = self.now + self.random.choice((20, 200))

    def die(self, actor: Actor, claim: Claim) -> None:
        self.actors[self.actors.index(actor)] = self.newcomer()

    def check(self) -> None:
        """One end a trial, no acknowledged report lost, numbers without gaps."""
        stored = optuna.load_study(study_name=self.study.name, storage=self.database.storage)
        trials = stored.get_trials(deepcopy=False)
        assert [trial.number for trial in trials] == list(range(self.study.search.trials))
        for trial in trials:
            assert trial.intermediate_values == self.checker.acknowledged.get(trial.number, {})
            if trial.state.is_finished() and trial.number not in self.checker.ended:
                assert "attempts in a row" in trial.user_attrs["failure"]
            else:
                assert trial.state.name == self.checker.ended.get(trial.number, trial.state.name)


def trials_for(steps: int) -> int:
    """As many trials as a history of so many steps has use for."""
    return max(20, steps // 100 * TRIALS_A_HUNDRED_STEPS)
