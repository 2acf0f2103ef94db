import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, auc, confusion_matrix, f1_score, precision_recall_curve
from sklearn.metrics import precision_recall_fscore_support as reference_per_class

from foldrace.trainer.arrays import IntArray, Probabilities
from foldrace.trainer.metrics import (
    MetricsError,
    bits_to_array,
    confusion,
    per_class,
    right_bits,
    score,
)

CLASSES = 5


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Probabilities, IntArray]:
    """Rows of coarse probabilities, so that ties abound, and labels that may leave classes out."""
    n = draw(st.integers(1, 60))
    random = np.random.RandomState(draw(st.integers(0, 10_000)))
    weights = random.randint(1, draw(st.sampled_from([3, 10_000])), (n, CLASSES))
    labels = random.choice(draw(st.lists(st.integers(0, CLASSES - 1), min_size=1)), n).astype(np.int64)
    weights[np.arange(n), labels] *= draw(st.integers(1, 4))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32), labels


def reference_auprc(probabilities: Probabilities, labels: IntArray) -> float:
    areas = []
    for c in np.unique(labels):
        precision, recall, _ = precision_recall_curve(labels == c, probabilities[:, c])
        areas.append(auc(recall, precision))
    return float(np.mean(areas))


def certain(predicted: list[int], classes: int = 3) -> Probabilities:
    return np.eye(classes)[predicted]


@settings(deadline=None)
@given(predictions())
def test_scores_are_those_of_scikit_learn(case: tuple[Probabilities, IntArray]) -> None:
    probabilities, labels = case
    predicted, present = probabilities.argmax(axis=1), np.unique(labels)
    scores = score(probabilities, labels, no_relation=0)
    assert scores.accuracy == pytest.approx(accuracy_score(labels, predicted))
    macro = f1_score(labels, predicted, average="macro", labels=present, zero_division=0)
    assert scores.macro_f1 == pytest.approx(macro)
    micro = f1_score(labels, predicted, average="micro", labels=range(1, CLASSES), zero_division=0)
    assert scores.micro_f1 == pytest.approx(micro)
    assert scores.auprc == pytest.approx(reference_auprc(probabilities, labels))


@settings(deadline=None)
@given(predictions())
def test_classes_and_confusion_are_those_of_scikit_learn(case: tuple[Probabilities, IntArray]) -> None:
    probabilities, labels = case
    predicted = probabilities.argmax(axis=1)
    reference = reference_per_class(labels, predicted, labels=range(CLASSES), zero_division=0)
    ours = np.array([(c.precision, c.recall, c.f1, c.support) for c in per_class(probabilities, labels)])
    np.testing.assert_allclose(ours, np.stack(reference, axis=1))
    assert (confusion(probabilities, labels) == confusion_matrix(labels, predicted, labels=range(CLASSES))).all()


def test_klue_scores_on_thirty_classes_are_the_benchmarks() -> None:
    random = np.random.RandomState(0)
    labels = np.r_[np.arange(30), random.randint(0, 30, 370)]
    probabilities = random.dirichlet(np.ones(30), 400) + 0.2 * np.eye(30)[labels]
    scores = score(probabilities, labels, no_relation=4)
    without = [c for c in range(30) if c != 4]
    micro = f1_score(labels, probabilities.argmax(axis=1), average="micro", labels=without)
    assert scores.micro_f1 == pytest.approx(micro)
    assert scores.auprc == pytest.approx(reference_auprc(probabilities, labels))


def test_the_area_of_a_perfect_order_is_one_and_never_more() -> None:
    likely = np.linspace(0.99, 0.01, 58)  # its parts add up to 1.0000000000000002

    scores = score(np.stack([likely, 1 - likely], axis=1), np.repeat([0, 1], 29), None)

    assert scores.auprc == 1.0


def test_micro_f1_is_accuracy_where_no_class_is_left_out() -> None:
    scores = score(certain([0, 1, 1, 2]), np.array([0, 1, 2, 0]), no_relation=None)
    assert scores.micro_f1 == scores.accuracy == 0.5


def test_a_validation_part_of_no_relation_alone_has_scores() -> None:
    scores = score(certain([0, 0, 0, 0]), np.zeros(4, dtype=np.int64), no_relation=0)
    assert (scores.accuracy, scores.macro_f1, scores.micro_f1, scores.auprc) == (1.0, 1.0, 0.0, 1.0)


def test_a_class_without_rows_does_not_lower_the_means() -> None:
    labels = np.array([0, 0, 0, 1])
    scores = score(certain([0, 0, 2, 1]), labels, no_relation=None)
    assert scores.macro_f1 == pytest.approx((0.8 + 1) / 2)


def test_calibration_error_is_the_gap_of_each_bin_weighted_by_rows() -> None:
    # (0.6, 0.667]: confidences 0.65, half right; (0.933, 1]: confidence 1, all right; 0.2 closes the third bin
    probabilities = np.array([[0.65, 0.35], [0.65, 0.35], [1.0, 0.0], [1.0, 0.0]])
    assert score(probabilities, np.array([0, 1, 0, 0]), None).ece == pytest.approx(2 / 4 * 0.15)
    fifths = np.array([[0.2] * 5, [0.19, 0.2, 0.2, 0.2, 0.21]])
    assert score(fifths, np.array([0, 0]), None).ece == pytest.approx(0.8 / 2 + 0.21 / 2)


@settings(deadline=None)
@given(predictions())
def test_right_rows_survive_as_hexadecimal_bits(case: tuple[Probabilities, IntArray]) -> None:
    probabilities, labels = case
    right = bits_to_array(right_bits(probabilities, labels), len(labels))
    assert (right == (probabilities.argmax(axis=1) == labels)).all()


def test_the_first_row_is_the_highest_bit() -> None:
    assert right_bits(certain([0, 1, 2, 0, 0, 0, 0, 0, 1]), np.array([0, 1, 0, 1, 1, 1, 1, 1, 1])) == "c080"


@pytest.mark.parametrize(("bits", "n"), [("ff", 9), ("ffff", 8), ("f", 4), ("zz", 8)])
def test_bits_of_another_number_of_rows_are_refused(bits: str, n: int) -> None:
    with pytest.raises(MetricsError, match=f"{n} rows"):
        bits_to_array(bits, n)


@pytest.mark.parametrize("probabilities", [np.zeros((0, 3)), np.zeros((2, 3)), np.zeros(3)])
def test_no_rows_or_too_few_are_refused(probabilities: Probabilities) -> None:
    with pytest.raises(MetricsError, match="expected a row for each"):
        score(probabilities, np.zeros(len(probabilities) and 3, dtype=np.int64), None)


def test_a_probability_that_is_no_number_is_refused() -> None:
    probabilities = certain([0, 1, 2])
    probabilities[1, 0] = np.nan
    with pytest.raises(MetricsError, match="1 of 3 rows"):
        score(probabilities, np.array([0, 1, 2]), None)
