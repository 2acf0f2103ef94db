import numpy as np
import pytest
from scipy.special import softmax  # type: ignore[import-untyped]
from scipy.stats import binomtest  # type: ignore[import-untyped]

from foldrace.studies.sections import Folds
from foldrace.trainer.arrays import IntArray, Probabilities
from foldrace.trainer.data.folds import FoldPlan, plan_folds
from foldrace.trainer.ensemble import EnsembleError, OutOfFold, out_of_fold, per_class_report, vote
from foldrace.trainer.metrics import score

NAMES = ("no_relation", "per:title", "org:members")
LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2], dtype=np.int64)  # the only row of class 2 is pinned to training


def plan(seed: int = 77, leaky: bool = False) -> FoldPlan:
    folds = Folds(count=2, seed=seed, leaky_oversampling=leaky)
    return plan_folds(LABELS, [f"sentence {i}" for i in range(len(LABELS))], NAMES, folds)


def answers(plan: FoldPlan, of_row: Probabilities) -> list[Probabilities]:
    """What models that answer `of_row` (rows, classes) give for each validation part."""
    return [of_row[plan.validation(k)] for k in range(plan.count)]


def some_probabilities(seed: int, rows: int = len(LABELS)) -> Probabilities:
    return np.random.RandomState(seed).dirichlet(np.ones(3), rows).astype(np.float32)


def made_of(right: int, rows: int) -> OutOfFold:
    labels: IntArray = np.r_[np.zeros(right), np.ones(rows - right)].astype(np.int64)
    ones, no_rows = np.eye(2)[np.zeros(rows, dtype=int)], np.arange(rows)
    return OutOfFold(no_rows, labels, labels, ones, no_rows, ones, labels)


def test_a_vote_of_probabilities_is_their_mean() -> None:
    folds = [some_probabilities(seed) for seed in range(3)]
    np.testing.assert_allclose(vote(folds, "probabilities"), sum(folds) / 3, rtol=1e-6)


def test_a_vote_of_logits_needs_no_more_than_probabilities() -> None:
    logits = np.random.RandomState(0).normal(size=(3, 11, 3))
    folds = [softmax(fold, axis=1) for fold in logits]
    np.testing.assert_allclose(vote(folds, "logits"), softmax(logits.mean(axis=0), axis=1))


def test_a_probability_of_zero_does_not_break_a_vote_of_logits() -> None:
    voted = vote([np.array([[0.0, 1.0, 0.0]]), np.array([[0.5, 0.5, 0.0]])], "logits")
    assert np.isfinite(voted).all()
    assert voted.argmax() == 1


def test_folds_that_cannot_vote_are_refused() -> None:
    broken = some_probabilities(0)
    broken[3, 1] = np.nan
    with pytest.raises(EnsembleError, match="no folds to vote"):
        vote([], "probabilities")
    with pytest.raises(EnsembleError, match=r"fold 1: probabilities of shape \(10, 3\), expected \(11, 3\)"):
        vote([some_probabilities(0), some_probabilities(1, rows=10)], "probabilities")
    with pytest.raises(EnsembleError, match="fold 1: 1 rows have a probability that is NaN"):
        vote([some_probabilities(0), broken], "probabilities")


def test_each_scored_row_has_the_answer_of_the_model_that_never_saw_it() -> None:
    of_row, split = some_probabilities(0), plan()
    found = out_of_fold([(split, answers(split, of_row))], LABELS)
    assert found.rows.tolist() == found.scored.tolist() == list(range(10))
    assert all(row in split.validation(fold) for row, fold in zip(found.rows, found.fold, strict=True))
    np.testing.assert_array_equal(found.probabilities, of_row[:10])
    assert found.score(no_relation=0) == score(of_row[:10].astype(np.float64), LABELS[:10], 0)


@pytest.mark.parametrize("how", ["probabilities", "logits"])
def test_several_seeds_vote_by_row(how: str) -> None:
    first, second = some_probabilities(1), some_probabilities(2)
    trained = [(plan(77), answers(plan(77), first)), (plan(78), answers(plan(78), second))]
    found = out_of_fold(trained, LABELS, how)  # type: ignore[arg-type]
    assert found.seed.tolist() == [77] * 10 + [78] * 10
    assert plan(77).hash() != plan(78).hash()
    np.testing.assert_allclose(found.probabilities, vote([first, second], how)[:10])  # type: ignore[arg-type]


def test_under_a_leaky_plan_every_answer_counts_as_it_comes() -> None:
    split = plan(leaky=True)
    found = out_of_fold([(split, answers(split, some_probabilities(0)))], LABELS)
    assert sorted(found.scored.tolist()) == sorted(split.rows.tolist()) == [*range(10), 10, 10, 10, 10]
    np.testing.assert_array_equal(found.labels, LABELS[found.scored])


def test_folds_that_are_missing_or_misshapen_or_not_finite_are_refused() -> None:
    split, whole = plan(), answers(plan(), some_probabilities(0))
    with pytest.raises(EnsembleError, match="seed 77: 1 folds of 2"):
        out_of_fold([(split, whole[:1])], LABELS)
    with pytest.raises(EnsembleError, match=r"seed 77, fold 1: .*expected \(5, 3\)"):
        out_of_fold([(split, [whole[0], whole[1][:-1]])], LABELS)
    with pytest.raises(EnsembleError, match="seed 77, fold 0: 5 rows have"):
        out_of_fold([(split, [whole[0] * np.nan, whole[1]])], LABELS)
    with pytest.raises(EnsembleError, match="the data has only 4 rows"):
        out_of_fold([(split, whole)], LABELS[:4])
    with pytest.raises(EnsembleError, match="no plan to score"):
        out_of_fold([], LABELS)


@pytest.mark.parametrize(("right", "rows"), [(0, 7), (7, 7), (431, 783), (1, 2)])
def test_the_interval_of_the_accuracy_is_wilsons(right: int, rows: int) -> None:
    reference = binomtest(right, rows).proportion_ci(0.95, method="wilson")
    assert made_of(right, rows).accuracy_interval() == pytest.approx((reference.low, reference.high), abs=1e-6)


def test_the_report_has_a_line_for_each_class_and_no_figures_without_rows() -> None:
    report = per_class_report(np.eye(3)[[0, 0, 1]], np.array([0, 1, 1]), NAMES)
    assert report == (
        "class        precision  recall     f1   rows\n"
        "no_relation      0.500   1.000  0.667      1\n"
        "per:title        1.000   0.500  0.667      2\n"
        "org:members          -       -      -      0\n"
    )
