"""The pruner that races trials over folds and epochs at once: one that will hardly beat the incumbent is stopped.

It reads what workers report with each evaluation, from the study alone, so every worker decides alike. It never
raises: what it cannot read, it has not seen; and while little is known, it lets every trial run.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from search.calibration import Calibration, calibrate
from search.evidence import Evidence, disagreement, read_cell, read_evidence

RISK = 0.2  # the probability of winning below which a trial is stopped; chosen by replay, docs/racing.md
STARTUP = 2  # whole trials, before any is stopped
FIRST_LOOK = 0.6  # of the first fold: what shows before says too little, and late risers are taken for losers
BITS_WEIGHT = 4  # degrees of freedom that the rows of one pair of trials count for, beside the scatter of all


@dataclass(frozen=True)
class Verdict:
    """Whether a trial is stopped, and why.

    Attributes:
        fold, evaluation, epoch: where it stands; the epoch is None where the worker did not report one.
        incumbent: the number of the trial it is compared with; None while too little is known.
        difference: the forecast of its value less the incumbent's, in the metric's units.
        probability: of beating the incumbent; 1 while too little is known to say.
    """

    prune: bool
    fold: int = 0
    evaluation: int = 0
    epoch: float | None = None
    incumbent: int | None = None
    difference: float = 0.0
    probability: float = 1.0

    def __str__(self) -> str:
        if self.incumbent is None:
            return "too little is known to compare it with another trial"
        where = f"fold {self.fold}, evaluation {self.evaluation}"
        where = where if self.epoch is None else f"{where} (epoch {self.epoch:.1f})"
        return (
            f"{where}: expected to end {self.difference:+.4f} against trial {self.incumbent}, "
            f"probability of beating it {self.probability:.3f}"
        )


class RacingPruner(BasePruner):
    """Stops a trial when the probability that it beats the best whole trial falls below `risk`.

    Args:
        folds: of every trial.
        evaluations: points at which a fold is judged.
        risk: accepted; 0 never stops a trial, and 0.5 stops one that is more likely to lose.
        startup: whole trials before any trial is stopped.
    """

    def __init__(self, folds: int, evaluations: int, risk: float = RISK, startup: int = STARTUP) -> None:
        if folds < 1 or evaluations < 1:
            raise ValueError(f"a race needs folds and evaluations, found {folds} and {evaluations}")
        if not 0 <= risk <= 0.5:
            raise ValueError(f"the accepted risk lies between 0 and 0.5, found {risk}")
        if startup < 1:
            raise ValueError(f"at least one whole trial is needed to compare with, found {startup}")
        self._folds, self._evaluations, self._risk, self._startup = folds, evaluations, risk, startup
        self._first_look = math.ceil(FIRST_LOOK * evaluations) - 1
        self._seen: dict[tuple[str, int], Evidence] = {}  # by study and number; a complete trial never changes
        self._calibrations: dict[str, tuple[int, Calibration | None]] = {}  # by study, with how many it is from

    def prune(self, study: "optuna.study.Study", trial: FrozenTrial) -> bool:
        """Whether to stop the trial after its last report."""
        return self.verdict(study, trial).prune

    def verdict(self, study: "optuna.study.Study", trial: FrozenTrial) -> Verdict:
        """What is thought of the trial after its last report, and why."""
        step = trial.last_step
        if step is None or not 0 <= step < self._folds * self._evaluations:
            return Verdict(False)
        fold, index = divmod(step, self._evaluations)
        here = read_cell(trial.user_attrs, fold, index)
        calibration = self.calibration(study)
        if here is None or calibration is None:
            return Verdict(False, fold, index, None if here is None else here.epoch)
        so_far = read_evidence(trial, self._folds, self._evaluations)
        finished = so_far.best[:fold, -1].tolist()
        scatter = own_scatter(so_far, calibration)
        forecast = calibration.forecast(finished, fold, index, here.best, scatter)
        if forecast is None or not all(map(math.isfinite, finished)):
            return Verdict(False, fold, index, here.epoch)
        difference = forecast.mean - calibration.incumbent.value
        probability = _probability(difference, forecast.deviation)
        # Nothing is saved by stopping at the very last point.
        may_stop = self._first_look <= step < self._folds * self._evaluations - 1
        prune = may_stop and probability < self._risk
        return Verdict(prune, fold, index, here.epoch, calibration.incumbent.number, difference, probability)

    def calibration(self, study: "optuna.study.Study") -> Calibration | None:
        """What the study's complete trials teach; None while fewer than `startup` of them are whole."""
        name = study.study_name
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        known = self._calibrations.get(name)
        if known is not None and known[0] == len(complete):
            return known[1]
        evidence = [self._evidence(name, trial) for trial in complete]
        whole = [one for one in evidence if one.is_whole]
        calibration = calibrate(whole) if len(whole) >= self._startup else None
        self._calibrations[name] = len(complete), calibration
        return calibration

    def _evidence(self, study_name: str, trial: FrozenTrial) -> Evidence:
        key = study_name, trial.number
        if key not in self._seen:
            self._seen[key] = read_evidence(trial, self._folds, self._evaluations)
        return self._seen[key]


def own_scatter(trial: Evidence, calibration: Calibration) -> float:
    """The scatter of this very pair of trials: what the rows on which they disagree say, beside the study's.

    Two trials that are right on nearly the same rows are compared more sharply than two that are not.
    """
    variance = disagreement(trial, calibration.incumbent)
    if variance is None:
        return calibration.scatter
    weight = calibration.freedom + BITS_WEIGHT
    return (calibration.freedom * calibration.scatter + BITS_WEIGHT * variance / 2) / weight


def _probability(difference: float, deviation: float) -> float:
    """That a value expected at `difference` lies above zero; one half of a tie."""
    if deviation <= 0:
        return 0.5 if difference == 0 else float(difference > 0)
    return NormalDist().cdf(difference / deviation)
