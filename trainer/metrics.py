"""The scores of probabilities, per class and in all, as fractions in [0, 1].

Every evaluation of every fold is scored, so all is vectorised numpy. It never warns and never returns NaN.
"""

import math
from dataclasses import dataclass

import numpy as np

from foldrace.errors import FoldraceError
from foldrace.trainer.arrays import BoolArray, FloatArray, IntArray, Probabilities

ECE_BINS = 15


class MetricsError(FoldraceError):
    """Nothing can be scored: there are no rows, the shapes do not fit, or a probability is not finite."""


@dataclass(frozen=True)
class Scores:
    """The scores of some rows; NaN where they were not computed. `score` says which function has which formula.

    Attributes:
        accuracy: the share of right rows.
        macro_f1, micro_f1: see `_macro_f1`, `_micro_f1`.
        auprc: the area under the precision-recall curve, see `_auprc`.
        ece: the expected calibration error, see `_ece`.
    """

    accuracy: float = math.nan
    macro_f1: float = math.nan
    micro_f1: float = math.nan
    auprc: float = math.nan
    ece: float = math.nan

    def words(self, metric: str) -> str:
        """The score by a metric, and beside another one the accuracy: macro_f1 0.8331, accuracy 0.9117."""
        return ", ".join(f"{name} {getattr(self, name):.4f}" for name in dict.fromkeys((metric, "accuracy")))


@dataclass(frozen=True)
class ClassScore:
    """The scores of one class. `support` is the number of its rows. A fraction whose denominator is 0 is 0."""

    precision: float
    recall: float
    f1: float
    support: int


def score(probabilities: Probabilities, labels: IntArray, no_relation: int | None) -> Scores:
    """The scores of the most probable class of each row, and of the probabilities themselves.

    Args:
        probabilities: (n, classes).
        labels: (n,) class indices.
        no_relation: the class that micro-F1 leaves out; None when there is none.

    Raises:
        MetricsError: there are no rows, the shapes do not fit, or a probability is not finite.
    """
    _check(probabilities, labels)
    matrix = _confusion(probabilities, labels)
    return Scores(
        accuracy=float(np.trace(matrix) / len(labels)),
        macro_f1=_macro_f1(matrix),
        micro_f1=_micro_f1(matrix, no_relation),
        auprc=_auprc(probabilities, labels),
        ece=_ece(probabilities, labels),
    )


def per_class(probabilities: Probabilities, labels: IntArray) -> tuple[ClassScore, ...]:
    """The scores of each class, by class index.

    Raises:
        MetricsError: as `score`.
    """
    _check(probabilities, labels)
    matrix = _confusion(probabilities, labels)
    hits, predicted, support = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    columns = (_share(hits, predicted), _share(hits, support), _share(2 * hits, predicted + support), support)
    return tuple(ClassScore(float(p), float(r), float(f), int(s)) for p, r, f, s in zip(*columns, strict=True))


def confusion(probabilities: Probabilities, labels: IntArray) -> IntArray:
    """(classes, classes): the number of rows of class i that were taken for class j.

    Raises:
        MetricsError: as `score`.
    """
    _check(probabilities, labels)
    return _confusion(probabilities, labels)


def right_bits(probabilities: Probabilities, labels: IntArray) -> str:
    """Which rows are right, in row order, as hexadecimal bits: the highest bit is the first row, and zeros fill up."""
    return np.packbits(probabilities.argmax(axis=1) == labels).tobytes().hex()


def bits_to_array(bits: str, n: int) -> BoolArray:
    """(n,) the rows that `right_bits` wrote.

    Raises:
        MetricsError: `bits` is not the hexadecimal of `n` rows.
    """
    try:
        packed = np.frombuffer(bytes.fromhex(bits), dtype=np.uint8)
    except ValueError:
        raise MetricsError(f"{bits[:20]!r} is not hexadecimal; expected the bits of {n} rows") from None
    if len(packed) != -(-n // 8):
        raise MetricsError(f"{len(packed)} bytes hold the bits of other rows; {n} rows take {-(-n // 8)} bytes")
    return np.unpackbits(packed, count=n).astype(np.bool_)


def _check(probabilities: Probabilities, labels: IntArray) -> None:
    if probabilities.ndim != 2 or len(probabilities) != len(labels) or len(labels) == 0:
        shape = "x".join(str(size) for size in probabilities.shape)
        raise MetricsError(
            f"probabilities of shape {shape} for {len(labels)} labels; expected a row for each, and rows"
        )
    broken = int((~np.isfinite(probabilities).all(axis=1)).sum())
    if broken:
        raise MetricsError(f"{broken} of {len(labels)} rows have a probability that is NaN or infinite")


def _confusion(probabilities: Probabilities, labels: IntArray) -> IntArray:
    classes = probabilities.shape[1]
    cells = np.bincount(labels * classes + probabilities.argmax(axis=1), minlength=classes * classes)
    return cells.reshape(classes, classes)


def _share(part: IntArray, whole: IntArray) -> FloatArray:
    return part / np.maximum(whole, 1)


def _macro_f1(matrix: IntArray) -> float:
    """The mean F1 of the classes that have rows, 2 TP / (2 TP + FP + FN) each.

    A class without rows is not scored, as in scikit-learn's f1_score(average="macro", labels=np.unique(labels)).
    Otherwise a single row that is taken for it would lower the mean by a whole class.
    """
    predicted, support = matrix.sum(axis=0), matrix.sum(axis=1)
    return float(_share(2 * np.diag(matrix), predicted + support)[support > 0].mean())


def _micro_f1(matrix: IntArray, no_relation: int | None) -> float:
    """KLUE-RE's micro-F1 (Park et al. 2021, section 3.5): 2 TP / (2 TP + FP + FN) over all classes but no_relation.

    The benchmark's klue_re_micro_f1 is 100 times this. It is 0 when no other class has a row or is predicted.
    """
    scored = np.arange(len(matrix)) != (-1 if no_relation is None else no_relation)
    hits = np.diag(matrix)[scored].sum()
    total = matrix[:, scored].sum() + matrix[scored].sum()
    return float(2 * hits / max(total, 1))


def _auprc(probabilities: Probabilities, labels: IntArray) -> float:
    """KLUE-RE's AUPRC (Park et al. 2021, section 3.5): the area under the precision-recall curve of one class against
    the rest, by the trapezoidal rule, and of that the mean over classes, no_relation too.

    The benchmark's klue_re_auprc is 100 times this. Every class has rows there. A class without rows is left out here;
    scikit-learn would warn and count it as 0.5.
    """
    present = np.flatnonzero(np.bincount(labels, minlength=probabilities.shape[1]))
    scores = np.ascontiguousarray(probabilities[:, present].T, dtype=np.float64)  # (classes, n)
    order = np.argsort(-scores, axis=1)
    scores = np.take_along_axis(scores, order, axis=1)
    hits = (labels[order] == present[:, None]).cumsum(axis=1)
    is_threshold = np.ones(scores.shape, dtype=np.bool_)  # rows of equal probability are one point of the curve
    is_threshold[:, :-1] = scores[:, 1:] != scores[:, :-1]
    precision = (hits / np.arange(1, len(labels) + 1))[is_threshold]
    recall = (hits / hits[:, -1:])[is_threshold]
    starts = np.r_[0, is_threshold.sum(axis=1).cumsum()[:-1]]
    precision_before, recall_before = np.r_[1.0, precision[:-1]], np.r_[0.0, recall[:-1]]
    precision_before[starts], recall_before[starts] = 1.0, 0.0
    areas = np.add.reduceat((recall - recall_before) * (precision + precision_before) / 2, starts)
    return min(float(areas.mean()), 1.0)  # rounding may lift a sum of parts above it


def _ece(probabilities: Probabilities, labels: IntArray) -> float:
    """The expected calibration error (Guo et al. 2017, equation 3): the mean distance of accuracy and confidence over
    ECE_BINS bins of equal width, weighted by rows. A bin is open below and closed above.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    gap = (probabilities.argmax(axis=1) == labels) - confidence
    bins = np.digitize(confidence, np.linspace(0, 1, ECE_BINS + 1)[1:-1], right=True)
    return float(np.abs(np.bincount(bins, weights=gap)).sum() / len(labels))
