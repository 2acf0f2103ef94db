import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from foldrace.studies.sections import Folds
from foldrace.trainer.data.folds import (
    PINNED,
    FoldError,
    FoldPlan,
    normalise_sentence,
    plan_all_rows,
    plan_folds,
    plan_given_folds,
)

NAMES = ("no_relation", "per:title", "org:members", "per:spouse")


def plan(
    labels: list[int], sentences: list[str], count: int, seed: int = 77, oversample: bool = True, leaky: bool = False
) -> FoldPlan:
    folds = Folds(count=count, seed=seed, oversample_minority=oversample, leaky_oversampling=leaky)
    return plan_folds(np.array(labels, dtype=np.int64), sentences, NAMES, folds)


def distinct(n: int) -> list[str]:
    return [f"sentence {i}" for i in range(n)]


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[int], list[str], FoldPlan]:
    """Rows of four classes over few sentences, so that copies and rare classes abound, and a plan that exists."""
    count = draw(st.integers(2, 6))
    cells = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 25)), max_size=80))
    labels = [label for label, _ in cells] + [0] * count
    sentences = [f"sentence {s}" for _, s in cells] + [f"plain {i}" for i in range(count)]
    try:
        found = plan(labels, sentences, count, draw(st.integers(0, 9)), draw(st.booleans()))
    except FoldError:
        assume(False)
    return labels, sentences, found


@settings(deadline=None, max_examples=60)
@given(splits())
def test_no_group_is_ever_split(split: tuple[list[int], list[str], FoldPlan]) -> None:
    _, sentences, found = split
    folds: dict[str, set[int]] = {}
    for row, fold in zip(found.rows, found.fold, strict=True):
        folds.setdefault(sentences[row], set()).add(int(fold))
    assert all(len(of_sentence) == 1 for of_sentence in folds.values())


@settings(deadline=None, max_examples=60)
@given(splits())
def test_every_scored_row_is_validated_once_and_no_pinned_one(split: tuple[list[int], list[str], FoldPlan]) -> None:
    labels, _, found = split
    validated = np.concatenate([found.validation(k) for k in range(found.count)])
    pinned = found.rows[found.fold == PINNED]
    assert sorted([*validated, *pinned]) == list(range(len(labels)))
    assert not {NAMES[labels[row]] for row in validated} & set(found.pinned_labels)


@settings(deadline=None, max_examples=60)
@given(splits())
def test_oversampling_never_touches_validation(split: tuple[list[int], list[str], FoldPlan]) -> None:
    labels, sentences, found = split
    for k in range(found.count):
        validation = found.validation(k)
        assert len(set(validation.tolist())) == len(validation) > 0
        assert not {sentences[row] for row in validation} & {sentences[row] for row in found.training(k)}
        assert set(validation.tolist()) | set(found.training(k).tolist()) == set(range(len(labels)))


@settings(deadline=None, max_examples=60)
@given(splits())
def test_every_class_is_in_every_training_part(split: tuple[list[int], list[str], FoldPlan]) -> None:
    labels, _, found = split
    for k in range(found.count):
        assert {labels[row] for row in found.training(k)} == set(labels)


@settings(deadline=None, max_examples=60)
@given(splits())
def test_a_plan_survives_its_json(split: tuple[list[int], list[str], FoldPlan]) -> None:
    found = split[2]
    again = FoldPlan.from_json(found.to_json())
    assert again.hash() == found.hash()
    assert all(np.array_equal(again.training(k), found.training(k)) for k in range(found.count))


def test_each_class_is_spread_evenly() -> None:
    labels = [0] * 63 + [1] * 21 + [2] * 13 + [3] * 6
    found = plan(labels, distinct(103), 5)
    in_fold = np.array([np.bincount(np.array(labels)[found.validation(k)], minlength=4) for k in range(5)])
    assert (np.ptp(in_fold, axis=0) <= 1).all()
    assert np.ptp(in_fold.sum(axis=1)) <= 1


def test_the_seed_alone_decides_the_split() -> None:
    labels = [0, 1] * 20
    assert plan(labels, distinct(40), 4, seed=1).hash() == plan(labels, distinct(40), 4, seed=1).hash()
    assert plan(labels, distinct(40), 4, seed=1).hash() != plan(labels, distinct(40), 4, seed=2).hash()


def test_copies_are_found_through_width_case_and_white_space() -> None:
    assert normalise_sentence(" Ｋａｋａｏ\u3000는\tSeoul ") == normalise_sentence("kakao 는 seoul")


def test_a_rare_class_pins_its_sentences_and_what_they_leave_too_rare() -> None:
    labels = [0] * 6 + [1, 1, 1] + [2]
    sentences = [*distinct(6), "a", "b", "c", "c"]  # the one row of class 2 shares a sentence with the third of class 1
    found = plan(labels, sentences, 3)
    assert found.pinned_labels == ("per:title", "org:members")
    assert found.rows[found.fold == PINNED].tolist() == [6, 7, 8, 9]


def test_a_class_that_lands_whole_in_one_fold_is_pinned() -> None:
    labels = [0] * 4 + [0, 1] + [1, 1] + [2] * 4
    sentences = ["a"] * 4 + ["b"] * 2 + ["c"] * 2 + distinct(4)
    found = plan(labels, sentences, 2, seed=0)
    assert found.pinned_labels == ("no_relation", "per:title")


def test_rare_classes_are_repeated_in_whole_rounds_to_twice_the_folds() -> None:
    labels = [0] * 20 + [1] * 4
    training = plan(labels, distinct(24), 4).training(0)
    assert len(training) == 15 + 3 * 2
    assert training[-3:].tolist() == training[15:18].tolist()
    assert len(plan(labels, distinct(24), 4, oversample=False).training(0)) == 15 + 3


def test_a_plan_of_all_rows_holds_none_out_and_repeats_rare_classes() -> None:
    labels = np.array([0] * 20 + [1] * 4)
    found, plain = (plan_all_rows(labels, Folds(count=4, oversample_minority=rare)) for rare in (True, False))

    assert found.training(0).tolist() == [*range(24), *range(20, 24)]
    assert plain.training(0).tolist() == list(range(24))
    assert len(found.validation(0)) == found.count == 0


def test_a_leaky_plan_repeats_before_the_split_so_that_copies_leak() -> None:
    labels = [0] * 20 + [1] * 2
    found = plan(labels, distinct(22), 4, leaky=True)
    validated = np.concatenate([found.validation(k) for k in range(4)])
    assert found.pinned_labels == ()
    assert sorted(validated)[20:] == [20] * 4 + [21] * 4
    assert any(set(found.validation(k).tolist()) & set(found.training(k).tolist()) for k in range(4))


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(FoldError, match=r"5 folds of 3 groups of sentences: ask for"):
        plan([0] * 6, ["a", "a", "b", "b", "c", "c"], 5)


def test_folds_that_no_class_can_fill_are_refused_with_what_can_be_asked() -> None:
    with pytest.raises(FoldError, match=r"8 folds of 9 groups.*no class is left.*ask for at most 5 folds"):
        plan([0] * 5 + [1] * 4, distinct(9), 8)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_what_is_not_a_plan_is_refused(text: str) -> None:
    with pytest.raises(FoldError, match="not a fold plan"):
        FoldPlan.from_json(text)


def test_a_plan_whose_arrays_do_not_fit_is_refused() -> None:
    raw = json.loads(plan([0] * 6, distinct(6), 3).to_json())
    with pytest.raises(FoldError, match="do not fit together"):
        FoldPlan.from_json(json.dumps(raw | {"fold": raw["fold"][:-1]}))
    with pytest.raises(FoldError, match="do not fit together"):
        FoldPlan.from_json(json.dumps(raw | {"count": 4}))


# Groups, and folds that a column gives


@settings(deadline=None, max_examples=60)
@given(st.data(), splits())
def test_neither_a_group_nor_a_sentence_is_ever_split(
    data: st.DataObject, split: tuple[list[int], list[str], FoldPlan]
) -> None:
    labels, sentences, whole = split
    groups = data.draw(st.lists(st.sampled_from("abcdefghij"), min_size=len(labels), max_size=len(labels)))
    asked = Folds(count=whole.count, seed=whole.seed, oversample_minority=False)
    try:
        found = plan_folds(np.array(labels, dtype=np.int64), sentences, NAMES, asked, groups)
    except FoldError:
        assume(False)
    folds: dict[str, set[int]] = {}
    for row, fold in zip(found.rows, found.fold, strict=True):
        for key in (sentences[row], f"group {groups[row]}"):
            folds.setdefault(key, set()).add(int(fold))
    assert all(len(of_key) == 1 for of_key in folds.values())


def test_the_folds_of_a_column_are_taken_as_they_are() -> None:
    labels = np.array([0, 1, 0, 1, 0, 2], dtype=np.int64)

    found = plan_given_folds(labels, ["10", "2", "2", "10", "3", "3"], Folds(count=3, oversample_minority=False))

    assert found.fold.tolist() == [2, 0, 0, 2, 1, 1]  # in the order of the numbers
    assert found.validation(1).tolist() == [4, 5]
    assert found.training(1).tolist() == [0, 1, 2, 3]
    assert FoldPlan.from_json(found.to_json()).hash() == found.hash()


def test_folds_are_in_the_order_of_their_numbers_however_long() -> None:
    given = ["9" * 5000, "b", "10", "09", "a"]

    found = plan_given_folds(np.zeros(5, dtype=np.int64), given, Folds(count=5))

    assert found.fold.tolist() == [2, 4, 1, 0, 3]


def test_rare_classes_are_repeated_in_the_folds_of_a_column_too() -> None:
    found = plan_given_folds(np.array([0, 0, 0, 0, 1], dtype=np.int64), list("ababa"), Folds(count=2))

    assert found.training(1).tolist().count(4) == 4


@pytest.mark.parametrize(
    ("given", "folds", "message"),
    [
        ("abc", Folds(count=5), r"3 folds \(a, b, c\), 5 are asked for; write count = 3 in \[folds\] and folds = 3"),
        ("aaa", Folds(count=5), r"1 folds \(a\), 5 are asked for; a split has at least two"),
        ("aba", Folds(count=2, leaky_oversampling=True), "copies cannot cross the folds"),
    ],
)
def test_a_column_of_other_folds_is_refused(given: str, folds: Folds, message: str) -> None:
    with pytest.raises(FoldError, match=message):
        plan_given_folds(np.zeros(3, dtype=np.int64), list(given), folds)
