"""What is believed of levels: the highest reading was lucky, and by how much the other readings tell."""

import numpy as np
import pytest

from foldrace.search.assessment.levels import LevelPrior
from foldrace.trainer.arrays import FloatArray

NOISE = 0.01


def posterior(values: FloatArray, noise: float = NOISE) -> tuple[FloatArray, FloatArray]:
    noises = np.full(len(values), noise**2)
    return LevelPrior.fit(values, noises).posterior(values, noises)


def test_where_all_levels_are_one_the_highest_reading_is_luck() -> None:
    random = np.random.default_rng(2)
    values = 0.8 + random.normal(0, NOISE, 40)

    means, variances = posterior(values)

    assert values.max() > 0.815
    assert means.max() < 0.809
    assert np.sqrt(variances).max() < NOISE


def test_where_levels_lie_far_apart_a_reading_is_believed() -> None:
    values = np.linspace(0.3, 0.8, 12)

    means, variances = posterior(values)

    assert means == pytest.approx(values, abs=0.006)
    assert np.sqrt(variances[:-1]) == pytest.approx(NOISE, rel=0.15)


def test_bad_trials_far_below_do_not_make_the_best_reading_credible() -> None:
    """Thirty trials of one level and ten anywhere below: among the thirty, the highest is still luck."""
    random = np.random.default_rng(4)
    values = np.concatenate([0.8 + random.normal(0, NOISE, 30), random.uniform(0.3, 0.7, 10)])

    means, _ = posterior(values)

    assert means.max() < 0.81


def test_what_is_believed_of_the_best_keeps_little_of_its_luck() -> None:
    """Levels drawn anew 200 times, ever fewer of them towards the top."""
    random = np.random.default_rng(5)
    readings, believed, true = [], [], []
    for _ in range(200):
        levels = 0.8 - 0.05 * random.exponential(0.5, 25)
        values = levels + random.normal(0, NOISE, 25)
        best = values.argmax()
        means, _ = posterior(values)
        readings.append(values[best])
        believed.append(means[best])
        true.append(levels[best])

    luck = np.mean(readings) - np.mean(true)
    assert luck > 0.014
    assert 0 < np.mean(believed) - np.mean(true) < 0.4 * luck


@pytest.mark.parametrize("values", [[0.8], [0.8, 0.8], [0.7, 0.8]])
def test_few_trials_are_believed_as_they_are_read(values: list[float]) -> None:
    means, variances = posterior(np.array(values))

    assert means == pytest.approx(values, abs=NOISE)
    assert (variances > 0).all()
