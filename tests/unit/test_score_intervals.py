"""Intervals of a mean over folds."""

import numpy as np
import pytest
from scipy.special import stdtrit  # type: ignore[import-untyped]

from foldrace.search.assessment.intervals import (
    kfold_interval,
    nadeau_bengio_variance,
    row_variance,
    student_deviate,
    student_interval,
)


def test_the_variance_counts_the_rows_that_folds_share() -> None:
    """Nadeau and Bengio 2003: 1 / J + test rows / training rows; five folds test one row for four."""
    assert nadeau_bengio_variance(0.02**2, scores=5, folds=5) == pytest.approx((1 / 5 + 1 / 4) * 0.02**2)
    assert nadeau_bengio_variance(0.02**2, scores=10, folds=5) == pytest.approx((1 / 10 + 1 / 4) * 0.02**2)


def test_the_interval_of_five_folds_is_that_of_students_t() -> None:
    found = kfold_interval([0.78, 0.80, 0.82, 0.79, 0.81], folds=5)

    half = 2.776445 * np.sqrt(0.45 * 0.00025)
    assert (found.mean, found.low, found.high) == pytest.approx((0.8, 0.8 - half, 0.8 + half), abs=1e-6)


def test_an_interval_stays_between_zero_and_one() -> None:
    assert student_interval(0.99, 0.01, 4).high == 1.0
    assert student_interval(0.01, 0.01, 4).low == 0.0


def test_a_variance_of_nearly_nothing_leaves_what_is_known() -> None:
    without, nearly = (student_interval(0.8, variance, 2, known=1e-4) for variance in (0.0, 1e-100))
    assert nearly == without


def test_rows_that_are_all_right_leave_some_doubt() -> None:
    assert 0 < row_variance(1.0, 1000) < row_variance(1.0, 100) < row_variance(0.8, 100)


def test_intervals_of_folds_that_share_their_rows_cover_the_truth() -> None:
    """Scores with the correlation that the formula supposes, test rows over all rows: 95 of 100 intervals cover."""
    random = np.random.default_rng(3)
    shared = random.normal(0, np.sqrt(0.2), (2000, 1))
    scores = 0.8 + 0.02 * (shared + random.normal(0, np.sqrt(0.8), (2000, 5)))

    found = [kfold_interval(row.tolist(), folds=5) for row in scores]

    assert np.mean([one.low <= 0.8 <= one.high for one in found]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("degrees", [1.0, 2.5, 4.0, 5.0, 5.5, 8.0, 30.0, 1e5])
def test_the_deviate_of_students_t_is_scipys(degrees: float) -> None:
    assert student_deviate(degrees) == pytest.approx(stdtrit(degrees, 0.975), rel=3e-4)
