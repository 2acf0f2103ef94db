"""A recipe that is trained again, and what it is worth on rows that no search has seen."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np

from foldrace.trainer.arrays import Float32Array, Probabilities
from foldrace.trainer.data.folds import FoldPlan
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.tasks import FoldResult, FoldTask
from foldrace.trainer.training_data import TrainingData


def train(task: FoldTask) -> FoldResult:
    """Train a fold to its end."""
    with closing(train_fold(task)) as events:
        return next(event for event in events if isinstance(event, FoldResult))


def answers(result: FoldResult) -> Float32Array:
    """The probabilities of a fold's test rows."""
    assert result.test_probabilities is not None
    return result.test_probabilities


def accuracy(data: TrainingData, plan: FoldPlan, answers: Probabilities, labels: Sequence[str]) -> float:
    """On the test rows of the classes that a fold is scored on, none of which the training rows lack."""
    names = np.array(data.examples.labels.names)
    scored = np.isin(labels, names) & ~np.isin(labels, plan.pinned_labels)
    return float(np.mean((names[answers.argmax(axis=1)] == np.array(labels))[scored]))
