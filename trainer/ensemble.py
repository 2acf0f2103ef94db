"""Many folds, one answer: the soft vote on test rows, and the out-of-fold score on training rows.

A row is scored by models that never saw it. A `leaky` plan is the exception. Folds that are missing, misshapen or not
finite are refused, so a vote never leaves one out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foldrace.errors import FoldraceError
from foldrace.trainer.arrays import FloatArray, IntArray, Probabilities
from foldrace.trainer.data.folds import FoldPlan
from foldrace.trainer.metrics import Scores, per_class, score

Vote = Literal["probabilities", "logits"]

Z_95 = 1.959964  # the normal deviate that leaves 2.5 % on either side


class EnsembleError(FoldraceError):
    """The folds cannot be joined as they are."""


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """The answers of models for rows that they were not trained on: m answers, joined to s scored rows.

    The weights of a model are those of its best evaluation on these very rows, so scores are slightly optimistic.

    Attributes:
        rows, fold, seed: (m,) the row, fold and seed of each answer, in the order of the seeds, then of the rows.
        answers: (m, classes) probabilities.
        scored: (s,) rows, ascending, each once. Under a `leaky` plan each answer is scored by itself, in their order.
        probabilities: (s, classes) the vote of the answers for each scored row. Each seed gives one.
        labels: (s,) the class of each scored row.
    """

    rows: IntArray
    fold: IntArray
    seed: IntArray
    answers: FloatArray
    scored: IntArray
    probabilities: FloatArray
    labels: IntArray

    def score(self, no_relation: int | None) -> Scores:
        return score(self.probabilities, self.labels, no_relation)

    def accuracy_interval(self, luck: float = 0.0) -> tuple[float, float]:
        """The 95 % Wilson score interval of the accuracy (Wilson 1927). It takes scored rows as independent.

        Args:
            luck: by how much the accuracy is too good.
        """
        n = len(self.labels)
        p = max(float((self.probabilities.argmax(axis=1) == self.labels).mean()) - luck, 0.0)
        centre = (p + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
        half = Z_95 / (1 + Z_95**2 / n) * math.sqrt(p * (1 - p) / n + Z_95**2 / (4 * n**2))
        return max(0.0, centre - half), min(1.0, centre + half)


def interval_words(interval: tuple[float, float], metric: str) -> str:
    """An `accuracy_interval` beside the score by a metric, in words."""
    of = "" if metric == "accuracy" else " of the accuracy"
    return "95 % interval{} {:.4f} to {:.4f}".format(of, *interval)


def vote(folds: Sequence[Probabilities], how: Vote) -> FloatArray:
    """The vote of folds that answered the same rows: (rows, classes).

    `probabilities` is the mean of the folds' probabilities. `logits` is the softmax of the folds' mean logits. For it,
    log-probabilities serve as logits: log p is the logit less a constant of that row and fold. The mean over folds is
    then the mean logit less a constant of that row. The softmax of both is the same.

    Raises:
        EnsembleError: there are no folds, their shapes differ, or a probability is not finite.
    """
    if not folds:
        raise EnsembleError("no folds to vote; at least one is needed")
    for k, fold in enumerate(folds):
        _check(fold, folds[0].shape, f"fold {k}")
    return _from_mean(np.mean([_as_votes(fold, how) for fold in folds], axis=0), how)


def out_of_fold(
    trained: Sequence[tuple[FoldPlan, Sequence[Probabilities]]], labels: IntArray, how: Vote = "probabilities"
) -> OutOfFold:
    """Every scored row with the answers of the models that never saw it. The answers of several seeds vote.

    Args:
        trained: for each seed its plan, and the validation probabilities of each fold, in validation order.
        labels: (n,) the classes of all rows.

    Raises:
        EnsembleError: a fold is missing, has another shape than its validation part, or is not finite.
    """
    if not trained:
        raise EnsembleError("no plan to score; at least one is needed")
    classes = trained[0][1][0].shape[-1] if trained[0][1] else 0
    for plan, folds in trained:
        _check_folds(plan, folds, classes, len(labels))
    parts = [_answers(plan, folds) for plan, folds in trained]
    rows, fold = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    answers = np.concatenate([part[2] for part in parts])
    seed = np.repeat([plan.seed for plan, _ in trained], [len(part[0]) for part in parts])
    if any(plan.leaky for plan, _ in trained):
        return OutOfFold(rows, fold, seed, answers, rows, answers, labels[rows])
    scored, position, count = np.unique(rows, return_inverse=True, return_counts=True)
    total = np.zeros((len(scored), classes))
    np.add.at(total, position, _as_votes(answers, how))
    return OutOfFold(rows, fold, seed, answers, scored, _from_mean(total / count[:, None], how), labels[scored])


def per_class_report(probabilities: Probabilities, labels: IntArray, names: Sequence[str]) -> str:
    """A table: the precision, recall, F1 and rows of each class. A class without rows has no figures."""
    width = max(len("class"), *(len(name) for name in names))
    lines = [f"{'class':{width}}  precision  recall     f1   rows"]
    for name, found in zip(names, per_class(probabilities, labels), strict=True):
        figures = f"{found.precision:9.3f}  {found.recall:6.3f}  {found.f1:5.3f}"
        if not found.support:
            figures = f"{'-':>9}  {'-':>6}  {'-':>5}"
        lines.append(f"{name:{width}}  {figures}  {found.support:5}")
    return "\n".join(lines) + "\n"


def _answers(plan: FoldPlan, folds: Sequence[Probabilities]) -> tuple[IntArray, IntArray, FloatArray]:
    parts = [plan.validation(k) for k in range(plan.count)]
    rows = np.concatenate(parts)
    fold = np.repeat(np.arange(plan.count), [len(part) for part in parts])
    by_row = np.argsort(rows, kind="stable")
    answers = np.concatenate(folds).astype(np.float64)
    return rows[by_row], fold[by_row], answers[by_row]


def _check_folds(plan: FoldPlan, folds: Sequence[Probabilities], classes: int, rows: int) -> None:
    if len(folds) != plan.count:
        raise EnsembleError(f"seed {plan.seed}: {len(folds)} folds of {plan.count}; train the missing ones first")
    if plan.rows.max() >= rows:
        raise EnsembleError(f"seed {plan.seed}: the plan has a row {plan.rows.max()}, the data has only {rows} rows")
    for k, fold in enumerate(folds):
        _check(fold, (len(plan.validation(k)), classes), f"seed {plan.seed}, fold {k}")


def _check(probabilities: Probabilities, shape: tuple[int, ...], where: str) -> None:
    if probabilities.shape != shape or probabilities.ndim != 2:
        raise EnsembleError(f"{where}: probabilities of shape {probabilities.shape}, expected {shape} (rows, classes)")
    broken = int((~np.isfinite(probabilities).all(axis=1)).sum())
    if broken:
        raise EnsembleError(f"{where}: {broken} rows have a probability that is NaN or infinite; train the fold again")


def _as_votes(probabilities: Probabilities, how: Vote) -> FloatArray:
    exact = probabilities.astype(np.float64)
    if how == "probabilities":
        return exact
    tiny = np.finfo(np.float32).tiny  # a probability that was rounded to 0 needs a finite logarithm
    return np.log(np.maximum(exact, tiny))


def _from_mean(votes: FloatArray, how: Vote) -> FloatArray:
    if how == "probabilities":
        return votes
    shifted = np.exp(votes - votes.max(axis=1, keepdims=True))
    softmax: FloatArray = shifted / shifted.sum(axis=1, keepdims=True)
    return softmax
