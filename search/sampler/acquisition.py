"""Where a process expects the most improvement over its leader."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr  # type: ignore[import-untyped]

from foldrace.search.sampler.cube import Cube
from foldrace.search.sampler.gaussian_process import GaussianProcess, Inputs
from foldrace.trainer.arrays import FloatArray

ANYWHERE, NEAR = 512, 192  # configurations that are looked at: all over the cube, and near the best ones
BEST, ROUNDS, STEP = 8, 2, 0.1
SAME = 1e-9  # positions that are nearer in every knob are the same

Describe = Callable[[FloatArray], Inputs]


@dataclass(frozen=True, eq=False)
class Proposal:
    """Where to try next.

    Attributes:
        position: (knobs,).
        gain: its expected improvement over the leader, in the targets' units.
        error: the standard deviation of the leader.
    """

    position: FloatArray
    gain: float
    error: float


def propose(
    process: GaussianProcess, cube: Cube, describe: Describe, tried: FloatArray, random: np.random.Generator
) -> Proposal:
    """The position with the highest expected improvement, whatever it costs to try it.

    One that was tried promises nothing: trained again with the same seed, it would give the same bits.

    Args:
        describe: positions, (rows, knobs), as the process takes them.
        tried: (trials, knobs), positions of the trials there are; the best of them by the process is its leader.
    """
    means, variances = process.at(describe(tried))
    best_tried = int(means.argmax())
    leader = describe(tried[[best_tried]])

    def value(positions: FloatArray) -> FloatArray:
        difference, variance = process.against(describe(positions), leader)
        return np.where(are_among(positions, tried), -np.inf, log_gain(difference, np.sqrt(variance)))

    starts = tried[np.argsort(means)[-BEST:]]
    positions = np.concatenate([cube.snapped(random.random((ANYWHERE, cube.knobs))), _around(cube, starts, 0, random)])
    values = value(positions)
    for turn in range(ROUNDS):
        best = np.argsort(values)[-BEST:]
        near = _around(cube, positions[best], turn, random)
        positions, values = np.concatenate([positions[best], near]), np.concatenate([values[best], value(near)])
    chosen, error = int(values.argmax()), math.sqrt(float(variances[best_tried]))
    return Proposal(positions[chosen], math.exp(float(values[chosen])), error)


def are_among(positions: FloatArray, tried: FloatArray) -> NDArray[np.bool_]:
    """(rows,), whether a position is one of those that were tried."""
    apart = np.abs(positions[:, None, :] - tried).max(axis=2)
    among: NDArray[np.bool_] = (apart < SAME).any(axis=1)
    return among


def log_gain(difference: FloatArray, deviation: FloatArray) -> FloatArray:
    """The logarithm of the expected improvement of normal variables over 0.

    Far below 0 by the asymptotic series, after Ament et al. 2023, "Unexpected improvements to expected improvement".
    """
    z = difference / deviation
    log_density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = np.log(np.exp(log_density) + z * ndtr(z))
        far = log_density - 2 * np.log(np.abs(z))
    gain: FloatArray = np.log(deviation) + np.where(z > -6, plain, far)
    return gain


def _around(cube: Cube, positions: FloatArray, turn: int, random: np.random.Generator) -> FloatArray:
    return cube.near(positions.repeat(-(-NEAR // len(positions)), axis=0), STEP / 2**turn, random)
