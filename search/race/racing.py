"""The pruner that races trials over folds and epochs at once: one that will hardly gain anything over the
incumbent is stopped.

It reads what workers report with each evaluation, from the study alone, so every worker decides alike. It never
raises: what it cannot read, it has not seen; and while little is known, it lets every trial run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from foldrace.search.race.forecast import Calibration, calibrate
from foldrace.search.race.learning_curves import Evidence, disagreement, evaluations_of, read_evidence

RISK = 0.05  # the share of all improvement that may be lost; chosen by replay, docs/racing.md
FEWEST_FREEDOM = 2  # degrees of freedom of the scatter of folds, before any trial is stopped
BITS_WEIGHT = 4  # degrees of freedom that the rows of one pair of trials count for, beside the scatter of all


@dataclass(frozen=True)
class Verdict:
    """Whether a trial is stopped, and why.

    Attributes:
        fold, evaluation, epoch: where it stands; the epoch is NaN where the worker did not report one.
        incumbent: the number of the trial it is compared with; None while too little is known.
        difference: the forecast of its value less the incumbent's, in the metric's units.
        probability: of beating the incumbent; 1 while too little is known to say.
        share: what it can be expected to gain over the incumbent, as a share of what a trial can of which nothing is
            known; 1 while too little is known to say.
    """

    prune: bool
    fold: int = 0
    evaluation: int = 0
    epoch: float = math.nan
    incumbent: int | None = None
    difference: float = 0.0
    probability: float = 1.0
    share: float = 1.0

    def __str__(self) -> str:
        if self.incumbent is None:
            return "too little is known to compare it with another trial"
        where = f"fold {self.fold}, evaluation {self.evaluation}"
        where = where if math.isnan(self.epoch) else f"{where} (epoch {self.epoch:.1f})"
        return (
            f"{where}: expected to end {self.difference:+.4f} against trial {self.incumbent}, "
            f"probability of beating it {self.probability:.3f}, expected gain {self.share:.1%} of an unknown trial's"
        )


class RacingPruner(BasePruner):
    """Stops a trial behind the leader once its expected gain is below `risk` times that of a trial that nobody knows.

    The leader is the trial expected to end best, whole or still running. A trial is stopped once at most: so of all
    that trials can be expected to gain, at most a share of `risk` is lost, however often each is looked at, as far as
    the forecasts are right.

    Args:
        folds: of every trial.
        evaluations: points at which a fold is judged.
        risk: accepted; 0 never stops a trial, and 1 every one that is less promising than the next one.
    """

    def __init__(self, folds: int, evaluations: int, risk: float = RISK) -> None:
        if folds < 1 or evaluations < 1:
            raise ValueError(f"a race needs folds and evaluations, found {folds} and {evaluations}")
        if not 0 <= risk <= 1:
            raise ValueError(f"the accepted risk lies between 0 and 1, found {risk}")
        self._folds, self._evaluations, self._risk = folds, evaluations, risk
        self._ended: dict[tuple[str, int], Evidence] = {}  # by study and number; a trial that ended never changes
        self._calibrations: dict[str, tuple[tuple[int, int], Calibration]] = {}  # by study, with what they are from

    def prune(self, study: "optuna.study.Study", trial: FrozenTrial) -> bool:
        """Whether to stop the trial after its last report."""
        return self.verdict(study, trial).prune

    def verdict(self, study: "optuna.study.Study", trial: FrozenTrial) -> Verdict:
        """What is thought of the trial after its last report, and why."""
        step = trial.last_step
        if step is None or not 0 <= step < self._folds * self._evaluations:
            return Verdict(False)
        fold, index = divmod(step, self._evaluations)
        here = evaluations_of(trial.user_attrs).get((fold, index))
        unknown = Verdict(False, fold, index, math.nan if here is None else here.epoch)
        so_far = self._read(trial)
        if here is None or not all(map(math.isfinite, so_far.best[:fold, -1])):
            return unknown
        ended, running = self._field(study)
        calibration = self._learn(study.study_name, ended, running)
        rivals = [other for other in ended if other.is_whole]
        rivals += [other for other in running if other.number != trial.number]
        rival = None if calibration is None else leading(rivals, calibration)
        if calibration is None or rival is None:
            return unknown
        scatter = own_scatter(so_far, rival, calibration)
        forecast, ahead = calibration.forecast(so_far, fold, index, scatter), calibration.latest(rival, scatter)
        assert ahead is not None  # who leads has shown something
        usual = calibration.anyone.gain_over(ahead)
        share = forecast.gain_over(ahead) / usual if usual > 0 else 1.0
        is_last = step == self._folds * self._evaluations - 1  # nothing is saved by stopping here
        difference, probability = forecast.mean - ahead.mean, forecast.chance_against(ahead)
        prune = share < self._risk and difference < 0 and not is_last  # who is ahead is the leader now
        return Verdict(prune, fold, index, here.epoch, rival.number, difference, probability, share)

    def _field(self, study: "optuna.study.Study") -> tuple[list[Evidence], list[Evidence]]:
        """What the trials have shown that ended, and those that are running."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        ended, running = [], []
        for trial in study.get_trials(deepcopy=False, states=states):
            if trial.state == TrialState.RUNNING:
                running.append(self._read(trial))
                continue
            key = study.study_name, trial.number
            if key not in self._ended:
                self._ended[key] = self._read(trial)
            ended.append(self._ended[key])
        return ended, running

    def _learn(self, name: str, ended: list[Evidence], running: list[Evidence]) -> Calibration | None:
        """Anew whenever a trial or a fold has ended, from what has ended by then: so all workers learn the same."""
        folds_done = sorted(trial.folds_done for trial in (*ended, *running))
        # One trial says nothing of how trials differ, and a single pair of folds next to nothing of how folds scatter.
        if len(folds_done) < 2 or folds_done[-2] < 1:
            return None
        done = len(ended), sum(trial.folds_done for trial in running)
        known = self._calibrations.get(name)
        if known is None or known[0] != done:
            known = done, calibrate([*ended, *(trial.of_folds_done() for trial in running)])
            self._calibrations[name] = known
        return known[1] if known[1].freedom >= FEWEST_FREEDOM or self._folds == 1 else None

    def _read(self, trial: FrozenTrial) -> Evidence:
        return read_evidence(trial, self._folds, self._evaluations)


def leading(trials: Sequence[Evidence], calibration: Calibration) -> Evidence | None:
    """The trial that is expected to end best; None when none has shown anything."""
    forecasts = [(trial, calibration.latest(trial)) for trial in trials]
    known = [(forecast.mean, -trial.number, trial) for trial, forecast in forecasts if forecast is not None]
    return max(known, key=lambda one: one[:2])[2] if known else None


def own_scatter(trial: Evidence, rival: Evidence, calibration: Calibration) -> float:
    """The scatter of this very pair of trials: what the rows on which they disagree say, beside the study's.

    Two trials that are right on nearly the same rows are compared more sharply than two that are not.
    """
    variance = disagreement(trial, rival)
    if variance is None:
        return calibration.scatter
    weight = calibration.freedom + BITS_WEIGHT
    return (calibration.freedom * calibration.scatter + BITS_WEIGHT * variance / 2) / weight
