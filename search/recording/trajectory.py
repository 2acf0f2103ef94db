"""The trajectory of a search, as numbers to draw: the incumbent against the compute spent, the gap of each trial to the
incumbent, and the importance of each knob.

It is read from the trials that ended. A study without any gives an empty trajectory.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial

from foldrace.search.compute import FoldEpochs, TrialCompute, read_compute, total_fold_epochs
from foldrace.search.race.forecast import ForecastModel
from foldrace.search.race.learning_curves import read_learning_curves, running_estimate
from foldrace.search.race.space import SearchSpace, make_search_space
from foldrace.search.ranking import best_trial, is_ranked
from foldrace.search.sampler.cube import Cube
from foldrace.storage.database import Database
from foldrace.storage.optuna_rows import find_study_id
from foldrace.studies.study import Study
from foldrace.trainer.arrays import FloatArray

MAX_GAP_CURVES = 100  # the newest trials: a figure of more lines shows less
MIN_DISTINCT_VALUES = 4  # of trials, before importances are computed
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Step:
    """A trial that ended: the fold-epochs that all trials had spent by then, and the best value by then."""

    number: int
    state: str
    spent: float
    value: float | None
    best: float | None


@dataclass(frozen=True, eq=False)
class GapCurve:
    """The gap of one trial to the incumbent.

    Attributes:
        folds: the folds done at each of its evaluations, in parts of a fold, (evaluations,).
        gaps: its estimate less the incumbent's over the same folds and evaluations, (evaluations,).
    """

    number: int
    state: str
    folds: FloatArray
    gaps: FloatArray


@dataclass(frozen=True)
class SearchTrajectory:
    """What is drawn of a search.

    Attributes:
        trials: those that ended, in the order of their ends.
        incumbent: the best of them.
        steps: one for each of them.
        importances: the share of the values' variance that each knob explains, by its name; they add up to 1.
        fold_epochs: of all trials, running ones too.
    """

    study: Study
    trials: tuple[FrozenTrial, ...]
    incumbent: FrozenTrial | None
    steps: tuple[Step, ...]
    gap_curves: tuple[GapCurve, ...]
    importances: dict[str, float]
    fold_epochs: FoldEpochs

    @property
    def bests(self) -> list[tuple[float, float]]:
        """(fold-epochs spent, best value by then) after each trial that ended since the first complete one."""
        return [(step.spent, step.best) for step in self.steps if step.best is not None]

    @property
    def values(self) -> list[tuple[int, float, float]]:
        """(number, fold-epochs spent by its end, value) of each complete trial."""
        return [(step.number, step.spent, step.value) for step in self.steps if step.value is not None]

    @property
    def baseline(self) -> float | None:
        """The value of the baseline, where the study has one and it is complete."""
        has_one = bool(self.study.search.baseline)
        return next((value for number, _, value in self.values if number == 0 and has_one), None)


def load_trajectory(database: Database, study: Study) -> SearchTrajectory:
    """The trajectory of a study so far. Raises StorageError when there is no such study."""
    study_id, ended = _read_ended(database, study)
    compute = database.read(lambda connection: read_compute(connection, study_id, study))  # later: it has all of them
    trials = sorted(ended, key=lambda trial: (trial.datetime_complete or datetime.max, trial.number))
    incumbent = best_trial(trials)
    return SearchTrajectory(
        study=study,
        trials=tuple(trials),
        incumbent=incumbent,
        steps=_steps(trials, compute),
        gap_curves=_gap_curves(trials, incumbent, study),
        importances=_importances(trials, study),
        fold_epochs=total_fold_epochs(compute, study),
    )


def read_importances(database: Database, study: Study) -> dict[str, float]:
    """The importances of a study so far, as in its trajectory. Raises StorageError when there is no such study."""
    _, ended = _read_ended(database, study)
    return _importances(ended, study)


def _read_ended(database: Database, study: Study) -> tuple[int, list[FrozenTrial]]:
    """The id of a study, and its trials that have ended."""
    study_id = database.read(lambda connection: find_study_id(connection, study.name))
    with database.read_only():
        ended = database.retry(lambda: database.storage.get_all_trials(study_id, deepcopy=False, states=_ENDED))
    return study_id, sorted(ended, key=lambda trial: trial.number)


def _steps(trials: Sequence[FrozenTrial], compute: Sequence[TrialCompute]) -> tuple[Step, ...]:
    spent_by = {trial.number: trial.spent for trial in compute}
    spent, best, steps = 0.0, None, []
    for trial in trials:
        spent += spent_by[trial.number]
        value = trial.value if is_ranked(trial) else None
        best = value if best is None or (value is not None and value > best) else best
        steps.append(Step(trial.number, trial.state.name, spent, value, best))
    return tuple(steps)


def _gap_curves(trials: Sequence[FrozenTrial], incumbent: FrozenTrial | None, study: Study) -> tuple[GapCurve, ...]:
    if incumbent is None:
        return ()
    leader, parts = _estimates(incumbent, study)
    gap_curves = []
    for trial in trials[-MAX_GAP_CURVES:]:
        gaps = _estimates(trial, study)[0] - leader
        seen = np.isfinite(gaps)
        if seen.any():
            gap_curves.append(GapCurve(trial.number, trial.state.name, parts[seen], gaps[seen]))
    return tuple(gap_curves)


def _estimates(trial: FrozenTrial, study: Study) -> tuple[FloatArray, FloatArray]:
    """The running estimate at each evaluation, in order, NaN where there was none; and the folds done by then."""
    folds, evaluations = study.folds.count, study.defaults.evaluations
    best = read_learning_curves(trial, folds, evaluations).best
    share = np.arange(1, evaluations + 1) / evaluations
    estimates = [running_estimate(best[:fold, -1].tolist(), best[fold], share) for fold in range(folds)]
    return np.concatenate(estimates), (np.arange(folds)[:, None] + share).ravel()


def _importances(trials: Sequence[FrozenTrial], study: Study) -> dict[str, float]:
    """The share of the values' variance that each searched knob explains, by fANOVA; {} when too few.

    A pruned trial counts with the value it was expected to end with: the worst values of a knob that matters are
    among those, and complete trials alone would make it look as if it did not.
    """
    space = make_search_space(study.searched)
    curves = [read_learning_curves(trial, study.folds.count, study.defaults.evaluations) for trial in trials]
    if not any(curve.folds_done for curve in curves):
        return {}
    model = ForecastModel.fit(curves)
    ends = [model.forecast(curve) for curve in curves]
    ended = [(trial, end.mean) for trial, end in zip(trials, ends, strict=True) if end is not None]
    valued = [one for trial, mean in ended if (one := _within(space, trial, mean)) is not None]
    if len({trial.value for trial in valued}) < MIN_DISTINCT_VALUES:
        return {}
    forecast = optuna.create_study(direction="maximize")
    forecast.add_trials(valued)
    try:
        return dict(optuna.importance.get_param_importances(forecast, evaluator=FanovaImportanceEvaluator(seed=0)))
    except (ValueError, RuntimeError):  # a knob that took one value only, for one
        return {}


def _within(space: SearchSpace, trial: FrozenTrial, value: float) -> FrozenTrial | None:
    """The trial with another value, an inactive knob in the middle of its range.

    None where it could not be sampled: by hand, any number may be queued or added.
    """
    if not math.isfinite(value):
        return None
    try:
        return create_trial(params=Cube(space).filled(trial.params), distributions=space, value=value)
    except (KeyError, ValueError):
        return None
