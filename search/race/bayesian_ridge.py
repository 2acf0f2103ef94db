"""Ridge regression with weights and a predictive variance, for few rows and many inputs.

After Bishop, "Pattern Recognition and Machine Learning" (2006), section 3.3. The scales of the inputs and of the noise
are estimated from the rows themselves.
"""

from dataclasses import dataclass

import numpy as np

from foldrace.trainer.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class BayesianRidge:
    """A regression line and how uncertain it is.

    Attributes:
        mean: the weighted mean of the targets.
        center, scale: (inputs,), mean and deviation of each input; a scale is infinite where an input never changed.
        slopes: (inputs,), for inputs in units of their scale.
        covariance: (inputs, inputs), of the slopes, in units of `noise`.
        weight: of all rows together.
        noise: the variance of a target around the line.
    """

    mean: float
    center: FloatArray
    scale: FloatArray
    slopes: FloatArray
    covariance: FloatArray
    weight: float
    noise: float

    @classmethod
    def fit(
        cls, inputs: FloatArray, targets: FloatArray, weights: FloatArray, penalties: FloatArray
    ) -> "BayesianRidge":
        """Regress `targets`, (rows,), on `inputs`, (rows, inputs).

        Args:
            weights: (rows,), how many rows each one counts for.
            penalties: (inputs,), the precision of the prior that a slope is zero, in rows.

        The noise has a prior worth one row, in which the inputs explain nothing.
        """
        weight = float(weights.sum())
        center, mean = weights @ inputs / weight, float(weights @ targets / weight)
        scale = np.sqrt(weights @ (inputs - center) ** 2 / weight)
        scale[scale < 1e-9] = np.inf
        scaled, deviations = (inputs - center) / scale, targets - mean
        gram = scaled.T @ (weights[:, None] * scaled)
        covariance = np.linalg.inv(gram + np.diag(penalties)).astype(np.float64)
        slopes = covariance @ (scaled.T @ (weights * deviations))
        effective_parameters = float(np.trace(covariance @ gram))
        squares = float(weights @ (deviations - scaled @ slopes) ** 2 + weights @ deviations**2 / weight)
        noise = squares / max(weight - effective_parameters, 1.0)
        return cls(mean, center, scale, slopes, covariance, weight, noise)

    def predict(self, inputs: FloatArray) -> FloatArray:
        """The expected targets, (...), at `inputs`, (..., inputs)."""
        expected: FloatArray = self.mean + (inputs - self.center) / self.scale @ self.slopes
        return expected

    def mean_variance(self, inputs: FloatArray) -> float:
        """The variance of the expected target at `inputs`, (inputs,); a target varies around it by `noise` more."""
        scaled = (inputs - self.center) / self.scale
        return self.noise * float(1 / self.weight + scaled @ self.covariance @ scaled)
