"""The pruning rules that are compared: Optuna's as foldrace sets them up, those that judge whole folds, and racing."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import ttest_rel  # type: ignore[import-untyped]

from benchmarks.recordings import EVALUATIONS
from benchmarks.replay import Report, report_estimate, report_folds
from foldrace.search.race.racing import RISK, RacingPruner
from foldrace.trainer.arrays import FloatArray


@dataclass(frozen=True)
class Rule:
    """A way to prune.

    Attributes:
        make: its pruner for a study of so many folds.
        report: how a trial reports to the pruner.
        max_paused: trials that may be paused between two folds; see `benchmarks.replay.Simulation`.
    """

    name: str
    make: Callable[[int], BasePruner]
    report: Report = report_estimate
    max_paused: int = 0


class FoldRule(BasePruner):
    """Judges a trial after each whole fold, against the best complete trial; subclasses say how."""

    def prune(self, study: "optuna.study.Study", trial: FrozenTrial) -> bool:
        mine = np.array(list(trial.intermediate_values.values()))
        if len(mine) == 0 or trial.last_step != len(mine) - 1 or trial.state.is_finished():
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not complete:
            return False
        best = max(complete, key=lambda other: (other.value or -math.inf, -other.number))
        return self.loses(mine, np.array(list(best.intermediate_values.values())))

    def loses(self, mine: FloatArray, best: FloatArray) -> bool:
        """`mine`: (folds done,), `best`: (folds,) of the incumbent."""
        raise NotImplementedError


class Aggressive(FoldRule):
    """Bergman, Purucker, Hutter 2024: the mean of the folds so far is not better than the incumbent's mean."""

    def loses(self, mine: FloatArray, best: FloatArray) -> bool:
        return bool(mine.mean() <= best.mean())


class Forgiving(FoldRule):
    """Bergman, Purucker, Hutter 2024: the mean of the folds so far is not better than the incumbent's worst fold."""

    def loses(self, mine: FloatArray, best: FloatArray) -> bool:
        return bool(mine.mean() <= best.min())


class PairedT(FoldRule):
    """One-sided paired t-test over the folds so far, at least two, at the 5 % level."""

    def loses(self, mine: FloatArray, best: FloatArray) -> bool:
        if len(mine) < 2:
            return False
        differences = mine - best[: len(mine)]
        if np.ptp(differences) == 0:
            return bool(differences[0] < 0)
        return bool(ttest_rel(mine, best[: len(mine)], alternative="less").pvalue < 0.05)


class ShrinkingMargin(FoldRule):
    """The mean paired difference is below -c / sqrt(folds done); `c` in the metric's units."""

    def __init__(self, c: float) -> None:
        self._c = c

    def loses(self, mine: FloatArray, best: FloatArray) -> bool:
        return bool((mine - best[: len(mine)]).mean() < -self._c / math.sqrt(len(mine)))


def stock_rules() -> list[Rule]:
    """Optuna's own, with the arguments of search/race/factory.py; Wilcoxon's sees whole folds, as its manual asks."""
    half = EVALUATIONS // 2
    return [
        Rule("median", lambda folds: MedianPruner(n_startup_trials=5, n_warmup_steps=half)),
        Rule("successive_halving", lambda folds: SuccessiveHalvingPruner(min_resource=half)),
        Rule("hyperband", lambda folds: HyperbandPruner(min_resource=half, max_resource=EVALUATIONS * folds)),
        Rule("wilcoxon", lambda folds: _wilcoxon(), report_folds),
    ]


def fold_rules(c: float) -> list[Rule]:
    """Rules that look at whole folds only; `c` is the constant of the shrinking margin."""
    return [
        Rule("forgiving", lambda folds: Forgiving(), report_folds),
        Rule("aggressive", lambda folds: Aggressive(), report_folds),
        Rule("paired_t", lambda folds: PairedT(), report_folds),
        Rule("shrinking_margin", lambda folds: ShrinkingMargin(c), report_folds),
    ]


def racing_rule(risk: float = RISK, name: str = "racing") -> Rule:
    return Rule(name, lambda folds: RacingPruner(folds, EVALUATIONS, risk))


def _wilcoxon() -> BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return WilcoxonPruner(p_threshold=0.1)
