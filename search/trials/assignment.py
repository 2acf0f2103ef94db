"""What a claimed trial asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.data.folds import FoldPlan


@dataclass(frozen=True)
class Assignment:
    """What a claimed trial asks for: these folds of this plan, with these values of the knobs.

    Attributes:
        folder: of a fold's files, by its number.
        is_final: the fold is part of an ensemble: it is not pruned, it predicts the test rows, its model is kept.
    """

    knobs: Hyperparameters
    plan: FoldPlan
    folds: tuple[int, ...]
    folder: Callable[[int], Path]
    is_final: bool
