"""The array types of the package, each defined once. This module imports numpy alone."""

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

# A model gives them in single precision, a vote in double precision.
Probabilities = Float32Array | FloatArray
