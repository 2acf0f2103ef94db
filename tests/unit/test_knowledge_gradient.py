import math
from dataclasses import replace

import numpy as np
import pytest

from foldrace.search.race.forecast import Forecast
from foldrace.search.race.knowledge_gradient import JointLevels, expected_rise


def levels(means: list[float], covariance: list[list[float]]) -> JointLevels:
    """Nothing is trained now."""
    return JointLevels(tuple(range(len(means))), np.array(means), np.array(covariance), np.array(covariance))


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
    alike = levels([0.8, 0.78, 0.78], [[4e-4, 3e-4, 0.0], [3e-4, 4e-4, 0.0], [0.0, 0.0, 4e-4]])

    worth = alike.worth_of_folds(4e-4)

    assert 0 < worth[1] < worth[2]


def test_of_rivals_no_fold_can_be_asked_for_but_they_have_to_be_beaten() -> None:
    alone, beside = (levels(means, np.diag([4e-4] * len(means)).tolist()) for means in ([0.8, 0.8], [0.8, 0.8, 0.9]))
    beside = replace(beside, numbers=(0, 1))

    worth = beside.worth_of_folds(4e-4)

    assert worth.keys() == {0, 1}
    assert worth[0] < 0.1 * alone.worth_of_folds(4e-4)[0]
    assert JointLevels.nothing().worth_of_folds(4e-4) == {}


def test_it_is_what_drawn_levels_gain_by_a_fold() -> None:
    """Levels drawn from the belief, a fold of one observed, the best chosen by what is believed then."""
    random = np.random.default_rng(0)
    means, covariance, noise = np.array([0.8, 0.79, 0.81]), np.array([[9, 6, 1], [6, 8, 2], [1, 2, 4]]) * 1e-4, 3e-4
    worth = levels(means.tolist(), covariance.tolist()).worth_of_folds(noise)

    for observed in range(3):
        ends = random.normal(means[observed], np.sqrt(covariance[observed, observed] + noise), 400_000)
        gains = covariance[observed] / (covariance[observed, observed] + noise)
        believed = means + (ends - means[observed])[:, None] * gains
        assert worth[observed] == pytest.approx(believed.max(axis=1).mean() - means.max(), rel=0.03)


def test_a_lead_is_surer_where_two_levels_are_wrong_together() -> None:
    apart, together = (levels([0.8, 0.78], [[4e-4, c], [c, 4e-4]]) for c in (0.0, 3e-4))

    assert 0.5 < apart.probability_of_beating(0, 1) < together.probability_of_beating(0, 1)
    assert apart.probability_of_beating(0, 1) == pytest.approx(0.5 * math.erfc(-0.02 / math.sqrt(2 * 8e-4)))
