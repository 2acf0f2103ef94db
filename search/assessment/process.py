"""What the process that samples a study believes of its trials, by the curves that it is given.

The curves may have more folds than those of the search, or lack one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class StudyProcess:
    """The process of a study as it stands.

    Attributes:
        trials: of the study.
        space: of the knobs that they differ in.
        priors: what is known beforehand.
    """

    trials: Sequence[FrozenTrial]
    space: SearchSpace
    priors: Priors = NO_PRIORS

    @classmethod
    def read(cls, database: Database, stored: StoredStudy) -> "StudyProcess":
        """The process of a study in the database."""
        study, history = stored.parse(), History(database, stored.study_id)
        history.refresh()
        priors = StoredPriors(database, stored.study_id, study).read()
        return cls(history.trials, make_search_space(study.searched).varied(), priors)

    def __call__(self, curves: Sequence[LearningCurves]) -> JointLevels | None:
        """What is believed of the levels, by curves of one shape; None while too few trials have shown something."""
        shape = curves[0].best.shape
        taken_over = [_widened(trial, shape[0]) for trial in self.priors.taken_over]
        priors = replace(self.priors, taken_over=taken_over)
        posterior = GpSampler(_Given(curves, shape), lambda: priors).believe(self.trials, self.space)
        return None if posterior is None else posterior.levels()


class _Given:
    """Curves that are there already, by the numbers of their trials; of other trials there are none."""

    def __init__(self, curves: Sequence[LearningCurves], shape: tuple[int, ...]) -> None:
        self._curves, self._shape = {one.number: one for one in curves}, (shape[0], shape[1])

    def read(self, trials: Sequence[FrozenTrial]) -> list[LearningCurves]:
        numbers = [trial.number for trial in trials]
        return [self._curves.get(number) or join_bests(number, {}, self._shape) for number in numbers]


def _widened(trial: TakenOver, folds: int) -> TakenOver:
    """A trial that was taken over, which has no fresh folds."""
    best = trial.curves.best
    added = np.full((folds - len(best), best.shape[1]), np.nan)
    return replace(trial, curves=replace(trial.curves, best=np.vstack([best, added])))
