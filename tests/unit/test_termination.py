import numpy as np
import pytest

from foldrace.search.race.termination import expected_gain


def trials(levels: list[float], noise: float, folds: int = 5) -> list[list[float]]:
    random = np.random.default_rng(3)
    return [(level + noise * random.standard_normal(folds)).tolist() for level in levels]


def test_a_study_whose_best_trials_agree_within_the_noise_is_long_enough() -> None:
    found = expected_gain(trials([0.8] * 20, noise=0.03), ended=60, further=20)

    assert found is not None
    assert found.is_below_noise
    assert found.noise == pytest.approx(0.03 / 5**0.5, rel=0.2)


def test_a_study_whose_best_trials_lie_far_apart_is_not() -> None:
    found = expected_gain(trials([0.5, 0.55, 0.6, 0.7, 0.8, 0.9], noise=0.005), ended=6, further=20)

    assert found is not None
    assert not found.is_below_noise
    assert str(found).startswith("20 more trials can be expected to gain 0.")


def test_one_trial_far_behind_promises_nothing() -> None:
    near = [0.6671, 0.6689, 0.6697, 0.6705, 0.6713]

    found = expected_gain([[level] * 5 for level in (0.4042, *near)], ended=14, further=10)

    assert found is not None
    assert 0 < found.gain < 0.01


def test_no_further_trials_gain_nothing() -> None:
    found = expected_gain(trials([0.5, 0.6, 0.7, 0.8, 0.9], noise=0.01), ended=10, further=0)

    assert found is not None
    assert found.gain == 0


@pytest.mark.parametrize("folds", [[], [[0.5, 0.6]] * 4, [[0.5, float("nan")]] * 9], ids=["none", "few", "nan"])
def test_nothing_is_said_while_little_is_known(folds: list[list[float]]) -> None:
    assert expected_gain(folds, ended=9, further=10) is None


def test_one_fold_has_no_noise_that_could_be_seen() -> None:
    found = expected_gain([[0.5], [0.6], [0.7], [0.8], [0.9]], ended=5, further=5)

    assert found is not None
    assert found.noise == 0
