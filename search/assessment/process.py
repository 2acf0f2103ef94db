"""What the process that samples a study believes of its trials, by the curves that it is given.

The curves may have more folds than those of the search, or lack one.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from optuna.trial import FrozenTrial

from foldrace.search.race.knowledge_gradient import JointLevels
from foldrace.search.race.learning_curves import LearningCurves, join_bests
from foldrace.search.race.space import SearchSpace, make_search_space
from foldrace.search.sampler.gp import GpSampler
from foldrace.search.sampler.history import History
from foldrace.search.sampler.stored_priors import StoredPriors
from foldrace.search.sampler.trends import NO_PRIORS, Priors, TakenOver
from foldrace.search.study_store import StoredStudy
from foldrace.storage.database import Database


class StudyProcess:
    """The process of a study as it stands.

    Args:
        trials: of the study; of many thousands, those that its sampler looks at.
        space: of the knobs that they differ in.
        priors: what is known beforehand.
    """

    def __init__(self, trials: Sequence[FrozenTrial], space: SearchSpace, priors: Priors = NO_PRIORS) -> None:
        self._trials, self._space, self._priors = trials, space, priors
        self._curves = _Given()
        self._sampler = GpSampler(self._curves, lambda: self._priors)

    @classmethod
    def read(cls, database: Database, stored: StoredStudy) -> "StudyProcess":
        """The process of a study in the database."""
        study, history = stored.parse(), History(database, stored.study_id)
        history.refresh()
        priors = StoredPriors(database, stored.study_id, study).read()
        return cls(history.trials, make_search_space(study.searched).varied(), priors)

    def __call__(self, curves: Sequence[LearningCurves]) -> JointLevels | None:
        """What is believed of the levels, by curves of one shape; None while too few trials have shown something."""
        folds = len(curves[0].best)
        if any(len(trial.curves.best) != folds for trial in self._priors.taken_over):
            taken_over = [_with_folds(trial, folds) for trial in self._priors.taken_over]
            self._priors = replace(self._priors, taken_over=taken_over)
        self._curves.give(curves)
        posterior = self._sampler.believe(self._trials, self._space)
        return None if posterior is None else posterior.levels()


class _Given:
    """Curves that are there already, by the numbers of their trials; of other trials there are none."""

    def __init__(self) -> None:
        self._curves: dict[int, LearningCurves] = {}
        self._nothing = join_bests(0, {}, (1, 1))

    def give(self, curves: Sequence[LearningCurves]) -> None:
        self._curves = {one.number: one for one in curves}
        self._nothing = curves[0].without_folds()

    def read(self, trials: Sequence[FrozenTrial]) -> list[LearningCurves]:
        return [self._curves.get(trial.number, self._nothing) for trial in trials]


def _with_folds(trial: TakenOver, folds: int) -> TakenOver:
    """A trial that was taken over, with so many folds: it has no fresh ones."""
    best = np.full((folds, trial.curves.best.shape[1]), np.nan)
    best[: len(trial.curves.best)] = trial.curves.best[:folds]
    return replace(trial, curves=replace(trial.curves, best=best))
