"""Simulated data sets: what a training gives for any configuration, fitted to recorded runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from benchmarks.recordings import EVALUATIONS, Point, Run, read
from benchmarks.replay import search_space_of
from benchmarks.simulation.truths import TRUTHS, Levels, Truth
from foldrace.trainer.arrays import FloatArray

INTEGER_KNOBS = {"epochs"}
STEPS_PER_EPOCH = 64  # of a simulated fold; so that an eighth of an epoch is whole
NEIGHBOURS = 5  # recorded runs, one of which lends a simulated one its curves
BANDWIDTH = 0.15  # of the range of values, within which the noise is averaged
RISEN = 0.03  # above the floor: below, a curve has no shape
CANDIDATES = 20_000  # among which the best configuration is looked for
ROUNDS, NEAREST, STEP = 4, 40, 0.1  # of a search around the best of them


@dataclass(frozen=True, eq=False)
class Recording:
    """Recorded runs, and what simulated ones take from them.

    Attributes:
        values: (runs, folds), each fold's end.
        residuals: (runs, folds), what neither the run's value nor the fold's offset explains.
        offset_deviation: by how much folds differ, for all trials alike.
        shapes: (runs, folds, EVALUATIONS), the way from the floor to the fold's end, from 0 to 1; NaN of one that
            never left the floor.
    """

    space: Mapping[str, BaseDistribution]
    levels: Levels
    residuals: FloatArray
    offset_deviation: float
    shapes: FloatArray

    @property
    def folds(self) -> int:
        return int(self.residuals.shape[1])

    def deviation(self, level: float) -> float:
        """The standard deviation of a fold around its trial's level."""
        distance = (self.levels.values - level) / (BANDWIDTH * np.ptp(self.levels.values) or 1.0)
        weights = np.exp(-0.5 * distance**2)
        return float(np.sqrt(weights @ (self.residuals**2).mean(axis=1) / weights.sum()))


@lru_cache(maxsize=4)
def open_recording(path: Path) -> Recording:
    """Fit a curve file. Raises CurveError."""
    runs = read(path)
    space = space_of(runs)
    values = np.stack([run.best[:, -1] for run in runs])
    residuals, offset_deviation = _scatter(runs, values)
    floor = float(values.min())
    levels = values.mean(axis=1)
    ceiling = min(1.0, float(levels.max() + (levels.max() - np.median(levels)) / 4))
    positions = np.array([position_of(run.params, space) for run in runs])
    variance = float((residuals**2).mean() / values.shape[1])
    return Recording(
        space,
        Levels(positions, levels, variance, floor, ceiling),
        residuals,
        offset_deviation,
        np.stack([_shape(run, floor) for run in runs]),
    )


def space_of(runs: Sequence[Run]) -> dict[str, BaseDistribution]:
    """The knobs that all runs have, over what was recorded of each. Raises CurveError: no scale is stated of one."""
    space = search_space_of(runs)
    for knob in INTEGER_KNOBS & space.keys():
        values = [int(run.params[knob]) for run in runs]
        space[knob] = IntDistribution(min(values), max(values))
    return space


def position_of(params: Mapping[str, float | str], space: Mapping[str, BaseDistribution]) -> list[float]:
    """Where a configuration lies, each knob from 0 to 1; a choice by its place among the choices."""
    return [_position(params[knob], distribution) for knob, distribution in space.items()]


def _position(value: float | str, distribution: BaseDistribution) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(value) / max(len(distribution.choices) - 1, 1)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, there = distribution.low, distribution.high, float(value)
    if distribution.log:
        low, high, there = np.log(low), np.log(high), np.log(there)
    return float((there - low) / (high - low)) if high > low else 0.5


def _scatter(runs: Sequence[Run], values: FloatArray) -> tuple[FloatArray, float]:
    """Residuals, as large as they would be without the means that were taken off; and the offsets' deviation."""
    residuals = values - values.mean(axis=1, keepdims=True)
    offsets = []
    for seed in {run.seed for run in runs}:
        of_seed = np.array([run.seed == seed for run in runs])
        if of_seed.sum() > 1:
            offsets.append(residuals[of_seed].mean(axis=0))
            residuals[of_seed] -= offsets[-1]
    folds = values.shape[1]
    residuals *= np.sqrt(folds / max(folds - 1, 1))
    return residuals, float(np.std(offsets)) if offsets else 0.0


def _shape(run: Run, floor: float) -> FloatArray:
    best = np.maximum(run.best, floor)
    rise = best[:, -1:] - floor
    shape: FloatArray = np.where(rise > RISEN, (best - floor) / np.maximum(rise, RISEN), np.nan)
    return shape


@dataclass(frozen=True, eq=False)
class World:
    """A data set on which trainings can be simulated.

    Attributes:
        noise: the size of the folds' noise, 1 as recorded.
        best: the true value of the best configuration.
        typical: the true value of a configuration drawn at random.
    """

    recording: Recording
    truth: Truth
    noise: float
    number: int
    best: float
    typical: float

    @property
    def space(self) -> Mapping[str, BaseDistribution]:
        return self.recording.space

    @property
    def folds(self) -> int:
        return self.recording.folds

    def level(self, params: Mapping[str, float | str]) -> float:
        """The true value of a configuration."""
        return float(self.truth(np.array([position_of(params, self.space)]))[0])

    def train(self, params: Mapping[str, float | str], seed: int, number: int) -> Run:
        """What a training with a configuration gives, as trial `number` of a study with `seed`."""
        recording, floor = self.recording, self.recording.levels.floor
        offsets = np.random.default_rng([21, self.number, seed]).normal(size=self.folds) * recording.offset_deviation
        random = np.random.default_rng([22, self.number, seed, number])
        level = self.level(params)
        scatter = self.noise * recording.deviation(level) * random.normal(size=self.folds)
        ends = np.clip(level + offsets - offsets.mean() + scatter, floor, 1.0)
        shapes = self._shapes(params, level, random)
        values = floor + (ends - floor)[:, None] * shapes
        epochs = int(params.get("epochs", 1))
        steps = epochs * STEPS_PER_EPOCH
        cells = tuple(
            tuple(Point(steps * (j + 1) // EVALUATIONS, float(v), "", 0) for j, v in enumerate(fold)) for fold in values
        )
        return Run(number, seed, STEPS_PER_EPOCH, dict(params), cells, (steps,) * self.folds)

    def _shapes(self, params: Mapping[str, float | str], level: float, random: np.random.Generator) -> FloatArray:
        """(folds, EVALUATIONS), of one of the nearest recorded runs that rose, its folds in any order."""
        levels, shapes = self.recording.levels, self.recording.shapes
        there = np.array(position_of(params, self.space))
        distance = ((levels.positions - there) ** 2).mean(axis=1)
        distance += ((levels.values - level) / (np.ptp(levels.values) or 1.0)) ** 2
        distance[np.isnan(shapes).any(axis=(1, 2))] = np.inf
        lender = int(random.choice(np.argsort(distance)[:NEIGHBOURS]))
        shape: FloatArray = shapes[lender][random.permutation(self.folds)]
        return shape


def make_world(path: Path, kind: str, noise: float, number: int) -> World:
    """World `number` of a curve file: a pure function of its arguments."""
    recording = open_recording(path)
    truth = TRUTHS[kind](recording.levels, number)
    random = np.random.default_rng([23, number])
    found = _snapped(random.random((CANDIDATES, len(recording.space))), recording.space)
    values = truth(found)
    typical = float(values.mean())
    for turn in range(ROUNDS):
        top = found[np.argsort(values)[-NEAREST:]]
        near = top.repeat(NEAREST, axis=0)
        near = near + random.normal(size=near.shape) * STEP / 2**turn
        found = np.concatenate([top, _snapped(np.clip(near, 0, 1), recording.space)])
        values = truth(found)
    return World(recording, truth, noise, number, float(values.max()), typical)


def _snapped(positions: FloatArray, space: Mapping[str, BaseDistribution]) -> FloatArray:
    """With integers and choices at the places that they can have."""
    positions = positions.copy()
    for column, distribution in enumerate(space.values()):
        places = None
        if isinstance(distribution, CategoricalDistribution):
            places = len(distribution.choices) - 1
        elif isinstance(distribution, IntDistribution) and not distribution.log:
            places = distribution.high - distribution.low
        if places:
            positions[:, column] = np.round(positions[:, column] * places) / places
    return positions
