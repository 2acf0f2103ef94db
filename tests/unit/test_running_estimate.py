"""What a trial is worth before its folds have ended."""

import math

import numpy as np
import pytest

from foldrace.search.race.learning_curves import running_estimate


@pytest.mark.parametrize(
    ("ended", "share", "expected"),
    [([], 1 / 8, 0.5), ([0.8], 1.0, 0.65), ([0.8, 0.8], 0.5, (0.8 + 0.8 + 0.25) / 2.5)],
)
def test_a_fold_counts_by_how_far_it_is(ended: list[float], share: float, expected: float) -> None:
    assert running_estimate(ended, 0.5, share) == pytest.approx(expected)


def test_all_evaluations_of_a_fold_are_estimated_at_once() -> None:
    estimates = running_estimate([0.8], np.array([0.4, 0.5]), np.array([0.5, 1.0]))

    assert estimates.tolist() == pytest.approx([1.0 / 1.5, 0.65])


def test_a_fold_that_has_shown_nothing_gives_no_estimate() -> None:
    assert math.isnan(running_estimate([math.nan], 0.5, 0.5))
