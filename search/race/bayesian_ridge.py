"""A linear regression that knows how little it knows: few rows, more inputs than can be told apart, and no surprise.

Bayesian, after Bishop, "Pattern Recognition and Machine Learning" (2006), section 3.3, with the scales of inputs and
noise taken from the rows themselves.
"""

from dataclasses import dataclass

import numpy as np

from foldrace.trainer.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Regression:
    """A line through weighted rows.

    Attributes:
        mean: of the targets.
        center, scale: (inputs,), mean and deviation of each input; a scale is infinite where an input never changed.
        slopes: (inputs,), for inputs in units of their scale.
        spread: (inputs, inputs), the covariance of the slopes in units of `noise`.
        weight: of all rows together.
        noise: the variance of a target around the line.
    """

    mean: float
    center: FloatArray
    scale: FloatArray
    slopes: FloatArray
    spread: FloatArray
    weight: float
    noise: float

    def at(self, inputs: FloatArray) -> FloatArray:
        """What is expected at `inputs`, (..., inputs)."""
        expected: FloatArray = self.mean + (inputs - self.center) / self.scale @ self.slopes
        return expected

    def doubt(self, inputs: FloatArray) -> float:
        """The variance of what is expected at `inputs`, (inputs,), because the line itself is uncertain."""
        there = (inputs - self.center) / self.scale
        return self.noise * float(1 / self.weight + there @ self.spread @ there)


def regress(inputs: FloatArray, targets: FloatArray, weights: FloatArray, penalties: FloatArray) -> Regression:
    """Regress `targets`, (rows,), on `inputs`, (rows, inputs).

    Args:
        weights: (rows,), how many rows each one counts for.
        penalties: (inputs,), how many rows' worth of belief each slope has in being zero.

    The noise starts from one row's worth of belief that the inputs explain nothing.
    """
    weight = float(weights.sum())
    center, mean = weights @ inputs / weight, float(weights @ targets / weight)
    scale = np.sqrt(weights @ (inputs - center) ** 2 / weight)
    scale[scale < 1e-9] = np.inf
    there, deviations = (inputs - center) / scale, targets - mean
    seen = there.T @ (weights[:, None] * there)
    spread = np.linalg.inv(seen + np.diag(penalties)).astype(np.float64)
    slopes = spread @ (there.T @ (weights * deviations))
    explained = float(np.trace(spread @ seen))
    left = float(weights @ (deviations - there @ slopes) ** 2 + weights @ deviations**2 / weight)
    noise = left / max(weight - explained, 1.0)
    return Regression(mean, center, scale, slopes, spread, weight, noise)
