"""Cosine annealing with warm restarts, as a pure function of the step, and the points at which a fold is evaluated.

After Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (ICLR 2017), with a warmup in
each cycle and a shrinking peak. docs/design.md, section 4, has the formula. A schedule has no state.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.arrays import FloatArray


@dataclass(frozen=True)
class Cycle:
    """Some steps of a fold that one cosine spans.

    Attributes:
        start, end: the first step, and the first one that is not of the cycle.
        length: steps of the whole cosine; more than end - start when the end of training cuts the cycle off.
        warmup: steps at its start in which the learning rate rises.
        peak: the learning rate after the warmup.
    """

    start: int
    end: int
    length: int
    warmup: int
    peak: float


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every optimiser step of a fold.

    Attributes:
        total: optimiser steps of the fold.
        cycles: in order, without gaps, from step 0 to `total`.
        min_lr: the floor of each cycle.
    """

    total: int
    cycles: tuple[Cycle, ...]
    min_lr: float

    @property
    def cycle_ends(self) -> tuple[int, ...]:
        """The steps done at the end of each cycle that reaches its floor."""
        return tuple(cycle.end for cycle in self.cycles if cycle.end == cycle.start + cycle.length)

    def lr(self, step: int) -> float:
        """The learning rate of optimiser step `step`, counted from 0."""
        cycle = self.cycles[bisect_right(self.cycles, step, key=lambda cycle: cycle.end)]
        u = step - cycle.start
        if u < cycle.warmup:
            return self.min_lr + (cycle.peak - self.min_lr) * u / cycle.warmup
        fraction = (u - cycle.warmup) / (cycle.length - cycle.warmup)
        return self.min_lr + (cycle.peak - self.min_lr) * (1 + math.cos(math.pi * fraction)) / 2

    def curve(self) -> FloatArray:
        """The learning rate of every step, shape (total,)."""
        return np.array([self.lr(step) for step in range(self.total)])

    def evaluation_points(self, count: int) -> tuple[int, ...]:
        """The numbers of steps done at which the fold is evaluated, ascending. The last one is `total`.

        The points are evenly spaced. A point moves to a cycle end within a quarter of the spacing, because the
        learning rate is at its floor there. A fold of fewer steps than `count` is evaluated after each of its steps.
        """
        count = min(count, self.total)
        spacing = self.total / count
        even = [round(spacing * i) for i in range(1, count)]
        return (*(self._to_cycle_end(point, spacing / 4) for point in even), self.total)

    def _to_cycle_end(self, point: int, reach: float) -> int:
        nearest = min(self.cycle_ends, key=lambda end: abs(end - point), default=point)
        return nearest if abs(nearest - point) <= reach else point


def make_schedule(total: int, knobs: Hyperparameters) -> Schedule:
    """The schedule of a fold of `total` optimiser steps.

    Raises:
        ValueError: there is no step.
    """
    if total < 1:
        raise ValueError(f"a schedule needs at least one step, found {total}")
    first = math.ceil(_share(knobs.first_cycle_ratio, total))
    spans = (
        _whole_cycles(total, first, knobs.cycle_mult) if knobs.whole_cycles else _cut(total, first, knobs.cycle_mult)
    )
    cycles, start = [], 0
    for k, (span, length) in enumerate(spans):
        rising_over = length if knobs.whole_cycles else first
        warmup = math.floor(_share(knobs.warmup_ratio, rising_over))
        peak = max(knobs.min_lr, knobs.lr * knobs.gamma**k)
        cycles.append(Cycle(start, start + span, length, warmup, peak))
        start += span
    return Schedule(total, tuple(cycles), knobs.min_lr)


def _share(ratio: float, steps: int) -> float:
    """`ratio * steps` without the last bits. 0.035 of 200 is 7, not 7.000000000000001, which would round up to 8."""
    return round(ratio * steps, 6)


def _length(first: int, mult: float, k: int) -> int:
    return round(first * mult**k)


def _whole_cycles(total: int, first: int, mult: float) -> list[tuple[int, int]]:
    """(steps, length) of each cycle. What remains becomes a compressed cycle, or joins the one before."""
    lengths = [first]
    while sum(lengths) + (following := _length(first, mult, len(lengths))) <= total:
        lengths.append(following)
    rest = total - sum(lengths)
    if rest >= following / 2:
        lengths.append(rest)
    else:
        lengths[-1] += rest
    return [(length, length) for length in lengths]


def _cut(total: int, first: int, mult: float) -> list[tuple[int, int]]:
    """(steps, length) of each cycle. The last one is cut off where training ends."""
    spans: list[tuple[int, int]] = []
    remaining = total
    while remaining > 0:
        length = _length(first, mult, len(spans))
        spans.append((min(length, remaining), length))
        remaining -= length
    return spans
