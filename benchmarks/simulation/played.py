"""The trials of a simulated study, in memory: what has been played of each, and what the product reads of them."""

from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial

from benchmarks.recordings import EVALUATIONS, Run
from benchmarks.replay import report_estimate
from foldrace.search.race.learning_curves import running_estimate
from foldrace.search.race.space import SearchSpace
from foldrace.storage.tables import FIRST


class MemoryHistory(InMemoryStorage):
    """A study's trials in memory, in place of the product's history in a database."""

    study_name = "history"

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space
        self.training: dict[int, set[int]] = {}  # begun and not done, by the number of their trial
        self.id = self.create_new_study([StudyDirection.MAXIMIZE], self.study_name)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All of them."""
        return self.get_all_trials(self.id, deepcopy=False)

    def refresh(self) -> None:
        """Nothing is elsewhere."""


class PlayedTrial:
    """A trial of the study.

    Attributes:
        cost: fold-epochs to a fold's next evaluation.
        epochs: of a fold.
        done, running: folds.
        finals: folds that it got in the finals.
    """

    def __init__(self, trial: Trial, run: Run) -> None:
        self.trial, self.number, self.run = trial, trial.number, run
        self.epochs = run.steps[0] / run.steps_per_epoch
        self.cost = self.epochs / EVALUATIONS
        self.done, self.running = set[int](), set[int]()
        self.finals, self.has_ended = 0, False

    @property
    def open(self) -> tuple[int, ...]:
        """The folds that may be begun: none before the first is done."""
        begun = self.done | self.running
        return tuple(fold for fold in range(len(self.run.cells)) if fold not in begun) if FIRST in self.done else ()

    def estimate(self, fold: int, index: int) -> float:
        """What Optuna takes for the value of a trial that is pruned."""
        best = self.run.best
        return running_estimate(best[:fold, -1].tolist(), float(best[fold, index]), (index + 1) / EVALUATIONS)


class PlayedCell:
    """A fold of a trial, evaluation by evaluation."""

    def __init__(self, trial: PlayedTrial, fold: int) -> None:
        self.trial, self.fold, self.evaluations = trial, fold, 0

    def evaluate(self) -> None:
        report_estimate(self.trial.trial, self.trial.run, self.fold, self.evaluations)
        self.evaluations += 1
        if self.is_done:
            self.trial.done.add(self.fold)

    @property
    def is_done(self) -> bool:
        return self.evaluations == EVALUATIONS
