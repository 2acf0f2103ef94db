"""The luck of the best evaluation is taken off a fold's score, by the rows that each evaluation got right."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foldrace.search.assessment.half_splits import unbiased_score
from tests.support.records import curve_of_bits


def test_the_best_of_equal_evaluations_is_lucky_and_its_score_without_luck_is_not() -> None:
    """Eight evaluations of one level, 0.8: the best of them is two points above it, as each has other rows right."""
    random = np.random.default_rng(1)
    drawn = [random.random((8, 240)) < 0.8 for _ in range(200)]

    best = np.mean([right.mean(axis=1).max() for right in drawn])
    corrected = np.mean([unbiased_score(curve_of_bits(right)) or 0.0 for right in drawn])

    assert best > 0.83
    assert corrected == pytest.approx(0.8, abs=0.003)


def test_an_evaluation_that_is_best_on_every_half_keeps_its_score() -> None:
    right = np.zeros((3, 41), dtype=np.bool_)
    right[1, 5:] = True

    assert unbiased_score(curve_of_bits(right)) == pytest.approx(36 / 41, abs=0.005)


@pytest.mark.parametrize("fault", [{"rows": 0, "right": ""}, {"rows": 17}, {"right": "zz" * 5}])
def test_a_fold_with_an_evaluation_without_bits_is_not_corrected(fault: dict[str, Any]) -> None:
    records = [*curve_of_bits(np.ones((3, 40), dtype=np.bool_))]
    records[1] = replace(records[1], **fault)

    assert unbiased_score(records) is None
