"""What other numbers of folds would mean for a trial: its cost, and the rows that judge it."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foldrace.search.monitor.columns import aligned
from foldrace.search.words import counted
from foldrace.studies.settings import Range
from foldrace.studies.study import Study
from foldrace.trainer.data.folds import PINNED, FoldError, FoldPlan
from foldrace.trainer.training_data import TrainingData, plan_examples


@dataclass(frozen=True)
class FoldChoice:
    """What a number of folds would mean for a trial.

    Attributes:
        fold_epochs: passes over a training part, at the mean of the searched epochs.
        rows: that go through the model in training; rare labels as often as they are repeated.
        times: `rows` over those of the study's own number of folds.
        unscored_labels, unscored_rows: that would only be trained on.
        smallest: the label with the fewest rows in a validation part, and how many that are.
        error: why the rows cannot be split so; empty where they can.
    """

    folds: int
    fold_epochs: float = math.nan
    rows: float = math.nan
    times: float = math.nan
    unscored_labels: tuple[str, ...] = ()
    unscored_rows: int = 0
    smallest: tuple[str, int] = ("", 0)
    error: str = ""

    @property
    def cells(self) -> list[str]:
        if self.error:
            return [str(self.folds), "-", "-", "-", "-", self.error]
        left_out = f"{counted(len(self.unscored_labels), 'label')}, {counted(self.unscored_rows, 'row')}"
        cost = [f"{self.fold_epochs:.0f}", f"{self.rows:,.0f}", f"{self.times:.2f}"]
        return [str(self.folds), *cost, left_out, f"{self.smallest[0]}, {counted(self.smallest[1], 'row')}"]


@dataclass(frozen=True)
class FoldComparison:
    """What several numbers of folds would mean for a trial. As text, it is a table."""

    choices: tuple[FoldChoice, ...]

    def __str__(self) -> str:
        header = ["folds", "fold-epochs", "rows trained", "times the time", "never scored", "fewest rows of a label"]
        return "\n".join(aligned([header, *(choice.cells for choice in self.choices)]))


def compare_folds(data: TrainingData, counts: Sequence[int]) -> FoldComparison:
    """What these numbers of folds would mean for a trial of a study. Nothing is trained or saved."""
    folds, epochs = data.study.folds, expected_epochs(data.study)

    def trained(plan: FoldPlan) -> float:
        return epochs * sum(len(plan.training(fold)) for fold in range(plan.count or 1))

    own, found = trained(plan_of(data)), list[FoldChoice]()
    for count in counts:
        try:
            plan = plan_examples(data.examples, folds.model_copy(update={"count": count}))
        except FoldError as error:
            found.append(FoldChoice(count, error=str(error)))
            continue
        rows, unscored = trained(plan), int((plan.fold == PINNED).sum())
        judged = plan.pinned_labels, unscored, _smallest(data, plan)
        found.append(FoldChoice(count, epochs * count, rows, rows / own, *judged))
    return FoldComparison(tuple(found))


def _smallest(data: TrainingData, plan: FoldPlan) -> tuple[str, int]:
    """The scored label with the fewest rows in a validation part, and how many."""
    names = data.examples.labels.names
    parts = [np.bincount(data.labels[plan.validation(k)], minlength=len(names)) for k in range(plan.count)]
    fewest = np.min(parts, axis=0)
    is_scored = np.sum(parts, axis=0) > 0
    label = int(np.where(is_scored, fewest, fewest.max() + 1).argmin())
    return names[label], int(fewest[label])


def expected_epochs(study: Study) -> float:
    """The mean epochs of trials whose knobs are drawn at random."""
    searched, default = study.searched.get("epochs"), float(study.defaults.epochs)
    if searched is None:
        return default
    ends = (searched.low, searched.high) if isinstance(searched, Range) else searched.choices
    mean = statistics.mean(float(end) for end in ends)
    if isinstance(searched, Range) and searched.log and searched.low < searched.high:
        mean = (searched.high - searched.low) / math.log(searched.high / searched.low)
    shares = (statistics.mean(one in when for one in study.values(knob)) for knob, when in searched.when.items())
    return default + math.prod(shares) * (mean - default)


def plan_of(data: TrainingData) -> FoldPlan:
    """The folds of a search; those of the first seed of a final job, where nothing is searched."""
    folds, final = data.study.folds, data.study.final
    return data.plan(folds.count, folds.seed) if data.study.searched else data.final_plan(final.seeds[0])
