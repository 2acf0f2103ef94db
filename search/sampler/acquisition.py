"""Where one more fold can be expected to raise the best mean of a process most."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldrace.search.race.forecast import Forecast
from foldrace.search.race.knowledge_gradient import RIVALS, expected_rise
from foldrace.search.sampler.cube import Cube
from foldrace.search.sampler.gaussian_process import GaussianProcess, Inputs
from foldrace.trainer.arrays import FloatArray

ANYWHERE, NEAR = 512, 192  # configurations that are looked at: all over the cube, and near the best ones
BEST, ROUNDS, STEP = 8, 2, 0.1
SAME = 1e-9  # positions that are nearer in every knob are the same


@dataclass(frozen=True, eq=False)
class Surface:
    """A process over the positions of a cube, (rows, knobs).

    Attributes:
        to_inputs: turns positions into what the process takes.
        rivals: (trials, knobs), positions of the trials that have to be beaten; the best of them is the leader.
    """

    process: GaussianProcess
    to_inputs: Callable[[FloatArray], Inputs]
    rivals: FloatArray

    def at(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(rows,) mean and variance."""
        return self.process.at(self.to_inputs(positions))

    def joint(self, positions: FloatArray, others: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(rows,) mean and variance, and (rows, others) the covariance with the function at others."""
        return self.process.joint(self.to_inputs(positions), self.to_inputs(others))


@dataclass(frozen=True, eq=False)
class Proposal:
    """Where to try next, in the targets' units.

    Attributes:
        position: (knobs,).
        rise: by how much one fold there can be expected to raise the best mean.
        gain: the expected improvement of the level there over the leader's.
        error: the standard deviation of the leader, by the process.
    """

    position: FloatArray
    rise: float
    gain: float
    error: float


def propose(surface: Surface, cube: Cube, tried: FloatArray, noise: float, random: np.random.Generator) -> Proposal:
    """The position where one fold promises the highest rise of the best mean, whatever it costs.

    One that was tried promises nothing: trained again with the same seed, it would give the same bits.

    Args:
        tried: (trials, knobs), positions of all trials there are.
        noise: the variance of a fold around the level of its trial.
    """
    means, variances = surface.at(surface.rivals)
    by_mean = np.argsort(means, kind="stable")
    best, leader = by_mean[-RIVALS:], int(by_mean[-1])

    def rise(positions: FloatArray) -> FloatArray:
        at, variance, covariance = surface.joint(positions, surface.rivals[best])
        found = expected_rise(means[best], at, covariance, variance, noise)
        return np.where(are_among(positions, tried), -np.inf, found)

    starts = surface.rivals[by_mean[-BEST:]]
    positions = np.concatenate([cube.snapped(random.random((ANYWHERE, cube.knobs))), _around(cube, starts, 0, random)])
    values = rise(positions)
    for turn in range(ROUNDS):
        top = np.argsort(values, kind="stable")[-BEST:]
        near = _around(cube, positions[top], turn, random)
        positions, values = np.concatenate([positions[top], near]), np.concatenate([values[top], rise(near)])
    chosen = int(values.argmax())
    gain = _improvement(surface, positions[chosen], surface.rivals[leader])
    return Proposal(positions[chosen], max(float(values[chosen]), 0.0), gain, math.sqrt(float(variances[leader])))


def _improvement(surface: Surface, position: FloatArray, leader: FloatArray) -> float:
    """The expected improvement of the level at a position over that at another."""
    (mean, of_leader), variances, covariance = surface.joint(np.stack([position, leader]), leader[None])
    apart = max(float(variances.sum() - 2 * covariance[0, 0]), 0.0)
    return Forecast(float(mean), apart).expected_improvement_over(Forecast(float(of_leader), 0.0))


def are_among(positions: FloatArray, tried: FloatArray) -> NDArray[np.bool_]:
    """(rows,), whether a position is one of those that were tried."""
    same: NDArray[np.bool_] = np.ones((len(positions), len(tried)), dtype=np.bool_)
    for there, here in zip(positions.T, tried.T, strict=True):
        same = same & (np.abs(there[:, None] - here) < SAME)
    return np.asarray(same.any(axis=1))


def _around(cube: Cube, positions: FloatArray, turn: int, random: np.random.Generator) -> FloatArray:
    return cube.near(positions.repeat(-(-NEAR // len(positions)), axis=0), STEP / 2**turn, random)
