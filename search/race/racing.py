"""The pruner that races trials over folds and epochs at once: it stops one that can hardly improve on the incumbent.

It reads what the workers report with each evaluation, and nothing else, so that every worker decides alike. A record
that it cannot read counts as one that is not there, and while too little is known every trial goes on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from foldrace.search.race.fold_offsets import MIN_DEGREES_OF_FREEDOM
from foldrace.search.race.forecast import ForecastModel, fold_variance_of_pair
from foldrace.search.race.learning_curves import (
    LearningCurves,
    read_evaluation,
    read_learning_curves,
)

RISK = 0.05  # the share of all improvement that may be lost; chosen by replay, docs/lab/racing.md


@dataclass(frozen=True)
class Verdict:
    """Whether a trial is stopped, and why.

    Attributes:
        fold, evaluation, epoch: where the trial stands; the epoch is NaN where the worker did not report one.
        incumbent: the number of the trial that it is compared with; None while too little is known.
        difference: the forecast of its value less the incumbent's, in the metric's units.
        probability: of beating the incumbent; 1 while too little is known.
        relative_gain: its expected improvement over the incumbent, as a share of that of a trial of which nothing is
            known; 1 while too little is known.
    """

    prune: bool
    fold: int = 0
    evaluation: int = 0
    epoch: float = math.nan
    incumbent: int | None = None
    difference: float = 0.0
    probability: float = 1.0
    relative_gain: float = 1.0

    def __str__(self) -> str:
        if self.incumbent is None:
            return "too little is known to compare it with another trial"
        where = f"fold {self.fold}, evaluation {self.evaluation}"
        where = where if math.isnan(self.epoch) else f"{where} (epoch {self.epoch:.1f})"
        incumbent = f"trial {self.incumbent}" if self.incumbent >= 0 else "a trial that was taken over"
        return (
            f"{where}: expected to end {self.difference:+.4f} against {incumbent}, probability of beating "
            f"it {self.probability:.3f}, expected gain {self.relative_gain:.1%} of an unknown trial's"
        )


class RacingPruner(BasePruner):
    """Stops a trial behind the incumbent once its expected improvement is below `risk` times an unknown trial's.

    The incumbent is the trial with the best forecast, complete or still running. A trial is stopped once at most: so of
    all that trials can be expected to gain, at most a share of `risk` is lost, however often each is judged.

    That bound holds on average over trials, and as far as the forecasts are right. They take the levels of trials and
    the noise of folds to be normal, with the same variances for all trials, and know nothing of the sampler. On four
    recordings of 37 to 45 random configurations the default lost up to 1.1 % of the best trial's lead on the seed that
    it saw, and up to 0.17 accuracy points scored on another seed (0.8 on resampled configurations), for a third of the
    compute. Of trials that are nearly alike it may well prune the best: on one recording in 59 % of all orders
    (docs/lab/racing.md).

    Args:
        folds: of every trial.
        evaluations: points at which a fold is judged.
        taken_over: the curves of trials of the same study that ran elsewhere; their numbers are negative.
        risk: accepted; 0 never stops a trial, and 1 stops every one that promises less than the next one.
    """

    def __init__(
        self,
        folds: int,
        evaluations: int,
        risk: float = RISK,
        taken_over: Callable[[], Sequence[LearningCurves]] = tuple,
    ) -> None:
        if folds < 1 or evaluations < 1:
            raise ValueError(f"a race needs folds and evaluations, found {folds} and {evaluations}")
        if not 0 <= risk <= 1:
            raise ValueError(f"the accepted risk lies between 0 and 1, found {risk}")
        self._folds, self._evaluations, self._risk, self._taken_over = folds, evaluations, risk, taken_over
        self._ended: dict[tuple[str, int], LearningCurves] = {}  # by study and number; a trial that ended never changes
        self._models: dict[str, tuple[object, ForecastModel]] = {}  # by study, with what each was fitted to

    def prune(self, study: "optuna.study.Study", trial: FrozenTrial) -> bool:
        """Whether to stop the trial after its last report."""
        return self.judge(study, trial).prune

    def judge(self, study: "optuna.study.Study", trial: FrozenTrial) -> Verdict:
        """Whether to stop the trial after its last report, and why."""
        step = trial.last_step
        if step is None or not 0 <= step < self._folds * self._evaluations:
            return Verdict(False)
        fold, index = divmod(step, self._evaluations)
        record = read_evaluation(trial.user_attrs, fold, index)
        curves = self._read(trial)
        undecided = Verdict(False, fold, index, math.nan if record is None else record.epoch)
        if record is None:
            return undecided
        ended, running = self._read_trials(study)
        model = self._fit(study.study_name, ended, running)
        if model is None:
            return undecided
        candidates = [other for other in ended if other.is_complete]
        candidates += [other for other in running if other.number != trial.number]
        incumbent = find_incumbent(candidates, model)
        return undecided if incumbent is None else self._compare(curves, incumbent, model, undecided)

    def _compare(
        self, curves: LearningCurves, incumbent: LearningCurves, model: ForecastModel, undecided: Verdict
    ) -> Verdict:
        """The verdict on a trial that stands where `undecided` says."""
        fold, index = undecided.fold, undecided.evaluation
        fold_variance = fold_variance_of_pair(curves, incumbent, model)
        mine, best = model.forecast(curves, fold_variance), model.forecast(incumbent, fold_variance)
        if mine is None or best is None:
            return undecided
        unknown_gain = model.unknown_trial.expected_improvement_over(best)
        relative_gain = mine.expected_improvement_over(best) / unknown_gain if unknown_gain > 0 else 1.0
        difference = mine.mean - best.mean  # above zero, the trial is the incumbent now
        prune = relative_gain < self._risk and difference < 0 and not curves.is_complete
        probability = mine.probability_of_beating(best)
        return Verdict(prune, fold, index, undecided.epoch, incumbent.number, difference, probability, relative_gain)

    def _read_trials(self, study: "optuna.study.Study") -> tuple[list[LearningCurves], list[LearningCurves]]:
        """The curves of the trials that ended, failed ones aside, and of those that are running."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        ended, running = list(self._taken_over()), []
        for trial in study.get_trials(deepcopy=False, states=states):
            if trial.state == TrialState.RUNNING:
                running.append(self._read(trial))
                continue
            key = study.study_name, trial.number
            if key not in self._ended:
                self._ended[key] = self._read(trial)
            ended.append(self._ended[key])
        return ended, running

    def _fit(self, name: str, ended: list[LearningCurves], running: list[LearningCurves]) -> ForecastModel | None:
        """The model of the study by now; None while too few folds are done.

        It is fitted anew whenever a trial or a fold has ended, and to those alone, so that all workers have the same.
        """
        folds_done = sorted(trial.folds_done for trial in (*ended, *running))
        # One trial says nothing of how trials differ, and one pair of folds next to nothing of how folds differ.
        if len(folds_done) < 2 or folds_done[-2] < 1:
            return None
        done = [[(trial.number, trial.folds_done) for trial in trials] for trials in (ended, running)]
        fitted = self._models.get(name)
        if fitted is None or fitted[0] != done:
            fitted = done, ForecastModel.fit([*ended, *(trial.without_running_folds() for trial in running)])
            self._models[name] = fitted
        model = fitted[1]
        return model if model.degrees_of_freedom >= MIN_DEGREES_OF_FREEDOM or self._folds == 1 else None

    def _read(self, trial: FrozenTrial) -> LearningCurves:
        return read_learning_curves(trial, self._folds, self._evaluations)


def find_incumbent(trials: Sequence[LearningCurves], model: ForecastModel) -> LearningCurves | None:
    """The trial with the best forecast, the first of equal ones; None when none has shown anything."""
    forecasts = [(trial, model.forecast(trial)) for trial in trials]
    known = [(forecast.mean, -trial.number, trial) for trial, forecast in forecasts if forecast is not None]
    return max(known, key=lambda one: one[:2])[2] if known else None
