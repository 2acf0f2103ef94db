"""How good each configuration of a simulated data set really is: functions of the knobs fitted to recorded runs.

Two kinds, so that a method cannot win by assuming what the other kind does not have: a draw of a smooth process, and
trees with steps.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from foldrace.trainer.arrays import FloatArray

FEATURES = 1000  # random waves of which a draw of the process is made
TREES = 60
LEAF = 2  # recorded configurations in a leaf, at least
LENGTHS = 0.15, 10.0  # of the process, shortest and longest; a knob goes from 0 to 1
EDGE = 0.02  # of the way from the floor to the ceiling: nearer to either, a recorded value is moved to here


_PROCESSES: "WeakKeyDictionary[Levels, tuple[float, FloatArray, float]]" = WeakKeyDictionary()


class Truth(Protocol):
    """The true value of a configuration."""

    def __call__(self, positions: FloatArray) -> FloatArray:
        """(configurations,), at (configurations, knobs) from 0 to 1."""


@dataclass(frozen=True, eq=False)
class Levels:
    """What was recorded of configurations, whichever seeds they had.

    Attributes:
        positions: (runs, knobs), from 0 to 1.
        values: (runs,), each run's value.
        variance: of a run's value around its configuration's level.
        floor: the share of the majority class.
        ceiling: what no configuration reaches.
    """

    positions: FloatArray
    values: FloatArray
    variance: float
    floor: float
    ceiling: float


@dataclass(frozen=True, eq=False)
class Waves:
    """A function of the process: a draw of the prior, in random waves, moved to what was recorded."""

    frequencies: FloatArray  # (knobs, FEATURES)
    phases: FloatArray
    amplitudes: FloatArray
    inputs: FloatArray  # (runs, knobs), in lengths
    moves: FloatArray  # (runs,)
    lengths: FloatArray
    deviation: float
    mean: float

    def __call__(self, positions: FloatArray) -> FloatArray:
        there = positions / self.lengths
        waves = np.cos(there @ self.frequencies + self.phases) @ self.amplitudes
        found: FloatArray = self.mean + self.deviation * waves + self._covariance(there) @ self.moves
        return found

    def _covariance(self, there: FloatArray) -> FloatArray:
        return self.deviation**2 * _correlation(there, self.inputs)


def smooth_truth(levels: Levels, seed: int) -> Truth:
    """A draw of a Gaussian process conditioned on the recordings, between a floor and a ceiling that it approaches.

    Drawn after Wilson et al. 2020, "Efficiently sampling functions from Gaussian process posteriors" (Matheron's rule).
    """
    span = levels.ceiling - levels.floor
    share = np.clip((levels.values - levels.floor) / span, EDGE, 1 - EDGE)
    targets, slopes = np.log(share / (1 - share)), 1 / (share * (1 - share) * span)
    noise = np.maximum(levels.variance * slopes**2, 1e-4)
    deviation, lengths, mean = _fitted(levels, targets, noise)
    random = np.random.default_rng([11, seed])
    frequencies = random.normal(size=(len(lengths), FEATURES))
    phases, amplitudes = random.uniform(0, 2 * np.pi, FEATURES), random.normal(size=FEATURES) * np.sqrt(2 / FEATURES)
    inputs = levels.positions / lengths
    prior = mean + deviation * np.cos(inputs @ frequencies + phases) @ amplitudes
    told = targets - prior - random.normal(size=len(targets)) * np.sqrt(noise)
    moves = np.linalg.solve(deviation**2 * _correlation(inputs, inputs) + np.diag(noise), told)
    waves = Waves(frequencies, phases, amplitudes, inputs, moves, lengths, deviation, mean)
    return lambda positions: levels.floor + span / (1 + np.exp(-waves(positions)))


def tree_truth(levels: Levels, seed: int) -> Truth:
    """Extra-trees on a bootstrap of the recordings."""
    drawn = np.random.default_rng([12, seed]).integers(len(levels.values), size=len(levels.values))
    trees = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, random_state=seed)
    trees.fit(levels.positions[drawn], levels.values[drawn])
    grown = [tree.tree_ for tree in trees.estimators_]

    def mean(positions: FloatArray) -> FloatArray:
        # For a single configuration, what scikit-learn does around the trees takes ten times as long as they do.
        single = np.ascontiguousarray(positions, dtype=np.float32)
        found: FloatArray = np.mean([tree.predict(single)[:, 0] for tree in grown], axis=0)
        return found

    return mean


TRUTHS = {"process": smooth_truth, "trees": tree_truth}


def _fitted(levels: Levels, targets: FloatArray, noise: FloatArray) -> tuple[float, FloatArray, float]:
    """Deviation, length of each knob, and mean of the process that explains the recordings best; fitted once."""
    if levels not in _PROCESSES:
        mean = float(np.average(targets, weights=1 / noise))
        start = ConstantKernel(float(np.var(targets)), (1e-2, 1e2)) * RBF(np.ones(levels.positions.shape[1]), LENGTHS)
        process = GaussianProcessRegressor(start, alpha=noise, n_restarts_optimizer=2, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a knob without an effect has no length
            kernel = process.fit(levels.positions, targets - mean).kernel_
        lengths = np.atleast_1d(kernel.k2.length_scale)
        _PROCESSES[levels] = float(np.sqrt(kernel.k1.constant_value)), lengths, mean
    return _PROCESSES[levels]


def _correlation(one: FloatArray, other: FloatArray) -> FloatArray:
    distance: Sequence[float] | FloatArray = ((one[:, None] - other) ** 2).sum(axis=2)
    return np.exp(-0.5 * np.asarray(distance))
