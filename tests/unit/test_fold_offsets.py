import numpy as np
import pytest

from foldrace.search.race.fold_offsets import (
    OFFSET_PENALTY,
    estimate_fold_offsets,
    offsets_within_trials,
    within_trial_variance,
)

TRIALS, FOLDS = 7, 4
VARIANCE = 0.0016


def test_offsets_solve_the_mixed_model() -> None:
    random = np.random.default_rng(0)
    residuals, level_variances = random.normal(0, 0.05, (TRIALS, FOLDS)), random.uniform(0.002, 0.01, TRIALS)
    noises = np.where(random.uniform(size=(TRIALS, FOLDS)) < 0.3, 0.0008, 0.0)
    noises[random.uniform(size=(TRIALS, FOLDS)) < 0.3] = np.inf
    noises[3] = np.inf  # a trial that has shown nothing

    found = estimate_fold_offsets(residuals, noises, level_variances, VARIANCE)

    # A mean and an offset for each fold: generalised least squares with the whole covariance of each trial's ends.
    information, score = np.zeros((FOLDS + 1, FOLDS + 1)), np.zeros(FOLDS + 1)
    for trial in range(TRIALS):
        seen = np.isfinite(noises[trial])
        design = np.column_stack([np.ones(FOLDS), np.eye(FOLDS)])[seen]
        covariance = level_variances[trial] + np.diag(VARIANCE + noises[trial][seen])
        information += design.T @ np.linalg.solve(covariance, design)
        score += design.T @ np.linalg.solve(covariance, residuals[trial][seen])
    information[1:, 1:] += np.eye(FOLDS) * OFFSET_PENALTY / VARIANCE
    assert found == pytest.approx(np.linalg.solve(information, score)[1:])
    assert found.sum() == pytest.approx(0)


def test_levels_that_seem_not_to_vary_are_taken_to_vary_as_folds_do() -> None:
    residuals, noises = np.array([[0.1, 0.2], [-0.1, np.nan], [-0.2, np.nan]]), np.zeros((3, 2))

    none, as_folds = (estimate_fold_offsets(residuals, noises, np.full(3, v), VARIANCE) for v in (0.0, VARIANCE))

    assert none == pytest.approx(as_folds)


def test_within_trials_the_levels_do_not_matter() -> None:
    random = np.random.default_rng(1)
    ends = random.normal(0, 0.05, (TRIALS, FOLDS))
    ends[random.uniform(size=ends.shape) < 0.3] = np.nan

    found = offsets_within_trials(ends)

    assert offsets_within_trials(ends + random.normal(0, 9, (TRIALS, 1))) == pytest.approx(found)


def test_a_trial_with_one_fold_says_nothing_within_trials() -> None:
    ends = np.array([[0.5, 0.6, 0.7], [0.5, 0.7, 0.9], [0.9, np.nan, np.nan]])

    assert offsets_within_trials(ends) == pytest.approx(offsets_within_trials(ends[:2]))


def test_offsets_are_drawn_towards_zero_where_few_trials_tell_them() -> None:
    ends = np.array([[0.5, 0.7]])

    few, many = (offsets_within_trials(np.repeat(ends, trials, axis=0)) for trials in (1, 98))

    assert few == pytest.approx(np.array([-0.1, 0.1]) / 3)
    assert many == pytest.approx(np.array([-0.1, 0.1]) * 0.98)


def test_the_variance_within_trials_leaves_levels_and_offsets_out() -> None:
    random = np.random.default_rng(2)
    levels, offsets = random.uniform(0.4, 0.8, (300, 1)), np.array([0.05, -0.05, 0.02, -0.02])
    ends = levels + offsets + random.normal(0, 0.04, (300, FOLDS))
    ends[::3, 2:] = np.nan

    variance, degrees_of_freedom = within_trial_variance(ends)

    assert variance == pytest.approx(VARIANCE, rel=0.1)
    assert degrees_of_freedom == np.isfinite(ends).sum() - 300 - 3


def test_of_one_trial_all_differences_between_folds_are_variance() -> None:
    variance, degrees_of_freedom = within_trial_variance(np.array([[0.5, 0.6, 0.7], [0.4, np.nan, np.nan]]))

    assert variance == pytest.approx(0.01)
    assert degrees_of_freedom == 2


def test_a_second_trial_with_two_folds_does_not_undo_what_is_known() -> None:
    whole, two, one = [0.5, 0.6, 0.7, 0.6], [0.4, 0.5, np.nan, np.nan], [0.4, np.nan, np.nan, np.nan]

    variance, degrees_of_freedom = within_trial_variance(np.array([whole, two, one]))

    assert variance == pytest.approx(0.02 / 3)
    assert degrees_of_freedom == 3


def test_without_two_folds_of_a_trial_there_is_no_variance() -> None:
    assert within_trial_variance(np.array([[0.5, np.nan], [0.6, np.nan]])) == (0.0, 0)
