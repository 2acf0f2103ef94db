"""What is believed of a study's trials by all their folds, those of the search and fresh ones: who leads, how surely.

The levels are those of the process that samples the study and ranks its folds: it knows the knobs, so that what a fold
tells of one trial it tells of those like it. Here the training rows that folds share count too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from foldrace.search.assessment.assessment import Lead
from foldrace.search.race.fold_offsets import MIN_DEGREES_OF_FREEDOM, MIN_VARIANCE, within_trial_variance
from foldrace.search.race.forecast import Forecast, ForecastModel
from foldrace.search.race.knowledge_gradient import JointLevels
from foldrace.search.race.learning_curves import LearningCurves, mcnemar_variance
from foldrace.search.sampler.readings import read_levels

COMPARED = 8  # of the trials with the highest levels, each with each
POOLED = 2  # degrees of freedom that the variance of all trials has in that of the leaders

Process = Callable[[Sequence[LearningCurves]], JointLevels | None]  # what a study's process believes by curves


@dataclass(frozen=True)
class FoldVariance:
    """The variance of a trial's score between folds.

    Attributes:
        whole: without what is common to all trials in a fold.
        of_models: of it, what is left without the variance by which rows each fold was scored on.
        degrees_of_freedom: of both.
    """

    whole: float
    of_models: float
    degrees_of_freedom: int


@dataclass(frozen=True, eq=False)
class Belief:
    """What is believed of trials that have shown something; `believe` makes it.

    Attributes:
        trials: their curves, the best first by their levels, of equal ones that with the lower number.
        folds: of one split of the rows.
        fold_variance: of the trials that may be the best: bad ones, which learn in some folds only, vary far more.
        levels: of the trials, and of others that have to be beaten.
    """

    trials: tuple[LearningCurves, ...]
    folds: int
    fold_variance: FoldVariance
    levels: JointLevels

    @property
    def order(self) -> list[int]:
        """The numbers of the trials, the best first."""
        return [trial.number for trial in self.trials]

    def level(self, number: int) -> Forecast:
        """What is believed of a trial's level on other training rows. Raises ValueError: it has shown nothing."""
        level = self.levels.level(number)
        return Forecast(level.mean, level.variance + self.shared_variance)

    def lead(self, number: int, over: int) -> Lead:
        """By how much a trial leads another one."""
        lead = self.levels.lead(number, over)
        of_a_row = max(_variance_of_a_row(trial) for trial in self.trials if trial.number in (number, over))
        variance = lead.variance + 2 * self.shared_variance + of_a_row
        return Lead(over, lead.mean, NormalDist().cdf(lead.mean / math.sqrt(max(variance, MIN_VARIANCE))))

    @property
    def shared_variance(self) -> float:
        """The variance of the mean of any number of folds by the training rows that they share.

        It is what Nadeau and Bengio add to a mean's own variance: test over training rows. It is of what training rows
        can change: rows that a fold is scored on are no other fold's.
        """
        return self.fold_variance.of_models / (self.folds - 1)


def believe(
    trials: Sequence[LearningCurves], folds: int, process: Process, without: int | None = None
) -> Belief | None:
    """What is believed of trials by all their folds; None while too little is known.

    Args:
        trials: their curves, of the search's folds and of fresh ones, all of the same shape.
        folds: of one split of the rows.
        without: a fold that is left out, as if it had never been trained.
    """
    if without is not None:
        trials = [_without_fold(trial, without) for trial in trials]
    begun = [trial for trial in trials if not trial.is_empty]
    if not any(trial.folds_done for trial in begun):
        return None
    model = ForecastModel.fit([replace(trial, knobs={}) for trial in begun])
    if model.degrees_of_freedom < MIN_DEGREES_OF_FREEDOM:
        return None
    levels = process(begun)
    if levels is None or not any(trial.number in levels.numbers for trial in begun):
        levels = _read_apart(begun)
    known = sorted(
        (trial for trial in begun if trial.number in levels.numbers),
        key=lambda trial: (-levels.level(trial.number).mean, trial.number),
    )
    return Belief(tuple(known), folds, _variance_of(_may_lead(known, levels), model), levels)


def _read_apart(trials: Sequence[LearningCurves]) -> JointLevels:
    """The readings of trials that nothing else tells of."""
    readings = read_levels(trials)
    numbers = [trial.number for trial, is_known in zip(trials, readings.known, strict=True) if is_known]
    known = readings.of(readings.known)
    return JointLevels.apart(numbers, known.values, known.variances)


def _may_lead(trials: Sequence[LearningCurves], levels: JointLevels) -> list[LearningCurves]:
    """The trials that may be as good as the first one."""
    highest = levels.level(trials[0].number).mean
    believed = [(trial, levels.level(trial.number)) for trial in trials]
    return [trial for trial, level in believed if level.mean + 2 * math.sqrt(level.variance) >= highest]


def _variance_of(leaders: Sequence[LearningCurves], model: ForecastModel) -> FoldVariance:
    """The variance between folds of the leaders; where they have few folds, that of all trials counts too."""
    found, degrees = within_trial_variance(np.stack([trial.best[:, -1] for trial in leaders]))
    whole = (degrees * found + POOLED * model.fold_variance) / (degrees + POOLED)
    return FoldVariance(whole, _model_variance(leaders, whole), degrees + POOLED)


def _model_variance(trials: Sequence[LearningCurves], fold_variance: float) -> float:
    """The variance between folds that is left when that of their rows is taken off; the best trials come first.

    A pair of trials that are scored on the same rows differs by which of them each gets right (McNemar), half of that
    for each. Where no rows are known, all of the variance may be that of models.
    """
    known = [trial for trial in trials if any(trial.rows)][:COMPARED]
    pairs = [mcnemar_variance(one, other) for i, one in enumerate(known) for other in known[:i]]
    of_rows = [variance / 2 for variance in pairs if variance is not None]
    return max(fold_variance - (float(np.mean(of_rows)) if of_rows else 0.0), 0.0)


def _variance_of_a_row(trial: LearningCurves) -> float:
    """What one row more or less would make: trials whose folds all end alike are not known better. 0 without bits."""
    rows = sum(trial.rows)
    return 1 / rows**2 if rows else 0.0


def _without_fold(trial: LearningCurves, fold: int) -> LearningCurves:
    best = trial.best.copy()
    best[fold] = np.nan
    right, rows = list(trial.right), list(trial.rows)
    right[fold], rows[fold] = np.empty(0, dtype=np.uint8), 0
    return replace(trial, best=best, right=tuple(right), rows=tuple(rows))
