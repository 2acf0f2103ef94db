import numpy as np
import pytest

from foldrace.search.race.bayesian_ridge import BayesianRidge


def test_a_regression_finds_the_line_and_the_noise_around_it() -> None:
    random = np.random.default_rng(1)
    inputs = random.uniform(0, 1, (4000, 2))
    targets = 1 + 2 * inputs[:, 0] - 3 * inputs[:, 1] + random.normal(0, 0.1, 4000)

    found = BayesianRidge.fit(inputs, targets, np.ones(4000), np.ones(2))

    assert found.predict(np.array([0.5, 0.5])) == pytest.approx(0.5, abs=0.01)
    assert found.noise == pytest.approx(0.01, rel=0.1)
    assert found.mean_variance(np.array([0.5, 0.5])) < found.mean_variance(np.array([3.0, 3.0])) < 0.01


def test_a_row_that_weighs_double_is_two_rows() -> None:
    inputs, targets = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 5.0])

    doubled = BayesianRidge.fit(inputs, targets, np.array([1.0, 1.0, 2.0]), np.ones(1))
    twice = BayesianRidge.fit(inputs[[0, 1, 2, 2]], targets[[0, 1, 2, 2]], np.ones(4), np.ones(1))

    assert doubled.predict(inputs) == pytest.approx(twice.predict(inputs))
    assert doubled.noise == pytest.approx(twice.noise)


def test_an_input_that_never_changed_has_no_slope() -> None:
    found = BayesianRidge.fit(np.array([[1.0], [1.0]]), np.array([0.4, 0.6]), np.ones(2), np.ones(1))

    assert found.predict(np.array([[1.0], [7.0]])).tolist() == [0.5, 0.5]
