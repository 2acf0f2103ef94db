import numpy as np
import pytest
from optuna.trial import TrialState, create_trial

from foldrace.search.race.learning_curves import (
    LearningCurves,
    mcnemar_variance,
    read_evaluations,
    read_learning_curves,
)
from tests.support.records import record_at


def one_fold(right: str, rows: int) -> LearningCurves:
    record = {"best": 0.5, "right": right, "rows": rows}
    return read_learning_curves(create_trial(value=0.5, user_attrs={"fold0/eval0": record}), folds=1, evaluations=1)


def test_folds_of_different_rows_are_not_compared() -> None:
    one = one_fold("ff", rows=8)
    other = one_fold("ff00", rows=9)

    assert mcnemar_variance(one, other) is None
    assert mcnemar_variance(one, one) == 0.0


def test_a_number_of_five_thousand_digits_names_no_evaluation() -> None:
    record = record_at(0, 0.5).to_json()
    assert read_evaluations({f"fold{'9' * 5000}/eval0": record, "fold0/eval0": record}).keys() == {(0, 0)}


def test_discordant_rows_give_the_variance_of_the_difference() -> None:
    one = one_fold("ff", rows=8)
    other = one_fold("f0", rows=8)

    assert mcnemar_variance(one, other) == pytest.approx(4 / 8 / 8)


def test_an_evaluation_that_is_missing_in_a_fold_that_is_done_has_the_best_so_far() -> None:
    attrs = {"fold0/eval0": {"best": 0.4}, "fold0/eval2": {"best": 0.6}, "fold0/eval3": {"best": 0.6}}

    best = read_learning_curves(create_trial(state=TrialState.RUNNING, user_attrs=attrs), 2, 4).best

    assert best[0].tolist() == [0.4, 0.4, 0.6, 0.6]
    assert not np.isfinite(best[1]).any()


@pytest.mark.parametrize(
    ("reported", "reached", "done"),
    [
        ([], [-1, -1], 0),
        (["fold0/eval0"], [0, -1], 0),
        (["fold0/eval0", "fold0/eval1"], [1, -1], 1),
        (["fold1/eval0"], [-1, 0], 0),
        (["fold0/eval0", "fold1/eval0"], [0, 0], 0),
        (["fold1/eval0", "fold1/eval1", "fold0/eval0"], [0, 1], 1),
    ],
)
def test_folds_are_seen_in_any_order_and_several_at_a_time(reported: list[str], reached: list[int], done: int) -> None:
    trial = create_trial(state=TrialState.RUNNING, user_attrs={key: {"best": 0.5} for key in reported})

    curves = read_learning_curves(trial, folds=2, evaluations=2)

    assert (curves.reached.tolist(), curves.folds_done, curves.is_empty) == (reached, done, not reported)
