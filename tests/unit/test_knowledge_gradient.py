import math

import numpy as np
import pytest

from foldrace.search.race.forecast import Forecast
from foldrace.search.race.knowledge_gradient import JointLevels, expected_rise


def levels(means: list[float], covariance: list[list[float]]) -> JointLevels:
    return JointLevels(tuple(range(len(means))), np.array(means), np.array(covariance))


def rise(mean: float, covariance: float = 0.0, variance: float = 0.01, noise: float = 0.0) -> float:
    """By an observation of one level, beside a rival at 0.8."""
    one = np.array([mean]), np.array([[covariance]]), np.array([variance])
    return float(expected_rise(np.array([0.8]), *one, noise)[0])


def test_of_two_levels_it_is_the_expected_improvement_of_one_over_the_other() -> None:
    improvement = Forecast(0.7, 0.01).expected_improvement_over(Forecast(0.8, 0.0))

    assert rise(0.7) == pytest.approx(improvement, rel=0.01)
    assert rise(0.7, variance=0.02, noise=0.02) == pytest.approx(improvement, rel=0.01)


def test_an_observation_that_moves_all_levels_alike_changes_no_choice() -> None:
    assert rise(0.7, covariance=0.01) == pytest.approx(0, abs=1e-12)


def test_noise_makes_an_observation_worth_less() -> None:
    assert 0 < rise(0.7, noise=0.03) < rise(0.7) < rise(0.79)


def test_a_fold_of_a_trial_like_the_leader_moves_both() -> None:
    alike = levels([0.8, 0.78, 0.78], np.diag([4e-4, 4e-4, 4e-4]).tolist())
    alike.covariance[0, 1] = alike.covariance[1, 0] = 3e-4

    worth = alike.worth_of_folds(4e-4, {})

    assert 0 < worth[1] < worth[2]


def test_a_fold_that_is_trained_now_has_told_its_part() -> None:
    two = levels([0.8, 0.8], [[4e-4, 0.0], [0.0, 4e-4]])

    assert two.worth_of_folds(4e-4, {1: 2})[1] < two.worth_of_folds(4e-4, {})[1]
    assert levels([], []).worth_of_folds(4e-4, {}) == {}


def test_a_lead_is_surer_where_two_levels_are_wrong_together() -> None:
    apart, together = (levels([0.8, 0.78], [[4e-4, c], [c, 4e-4]]) for c in (0.0, 3e-4))

    assert 0.5 < apart.probability_of_beating(0, 1) < together.probability_of_beating(0, 1)
    assert apart.probability_of_beating(0, 1) == pytest.approx(0.5 * math.erfc(-0.02 / math.sqrt(2 * 8e-4)))
