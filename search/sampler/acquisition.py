"""Where one more fold can be expected to raise the best mean of a process most."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldrace.search.race.forecast import Forecast
from foldrace.search.race.knowledge_gradient import expected_rise, slopes
from foldrace.search.sampler.cube import Cube
from foldrace.search.sampler.gaussian_process import GaussianProcess, Inputs
from foldrace.trainer.arrays import FloatArray

ANYWHERE, NEAR = 512, 192  # configurations that are looked at: all over the cube, and near the best ones
BEST, ROUNDS, STEP = 8, 2, 0.1
RIVALS = 40  # of the trials, those with the highest means: one of them, or the new one, will have the best mean
SAME = 1e-9  # positions that are nearer in every knob are the same

Describe = Callable[[FloatArray], Inputs]


@dataclass(frozen=True, eq=False)
class Proposal:
    """Where to try next, in the targets' units.

    Attributes:
        position: (knobs,).
        rise: by how much one fold there can be expected to raise the best mean.
        gain: the expected improvement of the level there over the leader's.
        error: the standard deviation of the leader.
    """

    position: FloatArray
    rise: float
    gain: float
    error: float


def propose(
    process: GaussianProcess,
    cube: Cube,
    describe: Describe,
    tried: FloatArray,
    noise: float,
    random: np.random.Generator,
) -> Proposal:
    """The position where one fold promises the highest rise of the best mean, whatever it costs.

    One that was tried promises nothing: trained again with the same seed, it would give the same bits.

    Args:
        describe: positions, (rows, knobs), as the process takes them.
        tried: (trials, knobs), positions of the trials there are; the best of them by the process is its leader.
        noise: the variance of a fold around the level of its trial.
    """
    means, variances = process.at(describe(tried))
    by_mean = np.argsort(means)
    rivals = describe(tried[by_mean[-RIVALS:]])
    of_rivals = means[by_mean[-RIVALS:]]

    def rise(positions: FloatArray) -> FloatArray:
        at, variance, covariance = process.joint(describe(positions), rivals)
        moved = slopes(np.column_stack([covariance, variance]), variance, noise)
        found = expected_rise(np.column_stack([np.tile(of_rivals, (len(at), 1)), at]), moved)
        return np.where(are_among(positions, tried), -np.inf, found)

    starts = tried[by_mean[-BEST:]]
    positions = np.concatenate([cube.snapped(random.random((ANYWHERE, cube.knobs))), _around(cube, starts, 0, random)])
    values = rise(positions)
    for turn in range(ROUNDS):
        best = np.argsort(values)[-BEST:]
        near = _around(cube, positions[best], turn, random)
        positions, values = np.concatenate([positions[best], near]), np.concatenate([values[best], rise(near)])
    chosen, leader = int(values.argmax()), int(by_mean[-1])
    gain = _improvement(process, describe(positions[[chosen]]), describe(tried[[leader]]))
    return Proposal(positions[chosen], max(float(values[chosen]), 0.0), gain, math.sqrt(float(variances[leader])))


def _improvement(process: GaussianProcess, new: Inputs, leader: Inputs) -> float:
    """The expected improvement at one place over another."""
    at, variance, covariance = process.joint(new, leader)
    of_leader, variance_of_leader = process.at(leader)
    apart = max(float(variance[0] + variance_of_leader[0] - 2 * covariance[0, 0]), 0.0)
    difference = Forecast(float(at[0]), apart)
    return difference.expected_improvement_over(Forecast(float(of_leader[0]), 0.0))


def are_among(positions: FloatArray, tried: FloatArray) -> NDArray[np.bool_]:
    """(rows,), whether a position is one of those that were tried."""
    apart = np.abs(positions[:, None, :] - tried).max(axis=2)
    among: NDArray[np.bool_] = (apart < SAME).any(axis=1)
    return among


def _around(cube: Cube, positions: FloatArray, turn: int, random: np.random.Generator) -> FloatArray:
    return cube.near(positions.repeat(-(-NEAR // len(positions)), axis=0), STEP / 2**turn, random)
