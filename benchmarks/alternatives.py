"""What else racing could do: each decision of docs/lab/racing.md replayed beside its alternatives.

    python -m benchmarks.alternatives --curves benchmarks/curves/klue_re.jsonl [--orders 60] [--workers 4]

Nothing here is used elsewhere. The same orders as in benchmarks.racing.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial

from benchmarks.racing import Order, play, random_orders, rotate_folds, without_collapsed
from benchmarks.recordings import EVALUATIONS, Run, read
from benchmarks.replay import complete_trials, report_estimate
from benchmarks.rules import Rule, racing_rule
from foldrace.search.race.forecast import Forecast, ForecastModel
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.race.racing import RISK, RacingPruner, Verdict

RISKS = (0.02, 0.1, 0.2, 0.5)
CHANCE_RISKS = (0.2, 0.5)
PER_WORK_RISKS = (0.1, 0.2)
MAX_PAUSED = (8, 16)  # trials that may be paused between two folds
HINDSIGHT_RISKS = (0.05, 0.2, 0.4)
MIN_PROBABILITY = 0.1  # of beating the incumbent, below which a trial is stopped whatever an unknown trial's is


class AgainstWholeTrials(RacingPruner):
    """Sees none of the trials that are still running."""

    def _read_trials(self, study: optuna.Study) -> tuple[list[LearningCurves], list[LearningCurves]]:
        return super()._read_trials(study)[0], []


class TaughtByWholeTrials(RacingPruner):
    """Learns from whole trials alone, as long as there are two."""

    def _fit(self, name: str, ended: list[LearningCurves], running: list[LearningCurves]) -> ForecastModel | None:
        return super()._fit(name, [trial for trial in ended if trial.is_complete], [])


class FromHalfAFold(RacingPruner):
    """Stops no trial in the first half of its first fold."""

    def judge(self, study: optuna.Study, trial: FrozenTrial) -> Verdict:
        found = super().judge(study, trial)
        return replace(found, prune=found.prune and (trial.last_step or 0) >= EVALUATIONS // 2)


class AtFoldEnds(RacingPruner):
    """Stops trials at the ends of folds only."""

    def judge(self, study: optuna.Study, trial: FrozenTrial) -> Verdict:
        found = super().judge(study, trial)
        return replace(found, prune=found.prune and found.evaluation == EVALUATIONS - 1)


class PerWorkLeft(RacingPruner):
    """Weighs the expected gain of a trial against the compute that it would still cost."""

    def judge(self, study: optuna.Study, trial: FrozenTrial) -> Verdict:
        found = super().judge(study, trial)
        left = 1 - ((trial.last_step or 0) + 1) / (self._folds * self._evaluations)
        return replace(found, prune=found.prune and found.relative_gain < self._risk * left)


class WithHindsight(RacingPruner):
    """Has learnt from all trials of the study, whole, before the first one begins."""

    def __init__(self, trials: Sequence[FrozenTrial], folds: int, risk: float) -> None:
        super().__init__(folds, EVALUATIONS, risk)
        self._hindsight = ForecastModel.fit([self._read(trial) for trial in trials])

    def _fit(self, name: str, ended: list[LearningCurves], running: list[LearningCurves]) -> ForecastModel | None:
        return self._hindsight


class ByChance(RacingPruner):
    """Compares probabilities of winning, however much there is to win."""

    def judge(self, study: optuna.Study, trial: FrozenTrial) -> Verdict:
        with mock.patch.object(Forecast, "expected_improvement_over", Forecast.probability_of_beating):
            return super().judge(study, trial)


class BelowAProbability(RacingPruner):
    """Stops a trial when it will improbably win, also where that holds of every trial."""

    def judge(self, study: optuna.Study, trial: FrozenTrial) -> Verdict:
        found = super().judge(study, trial)
        return replace(found, prune=found.probability < MIN_PROBABILITY)


def report_value(trial: Trial, run: Run, fold: int, index: int) -> bool:
    """Report the value in place of the best so far, but at the end of a fold."""
    has_reported = report_estimate(trial, run, fold, index)
    point = run.cells[fold][index]
    if point is not None and index < EVALUATIONS - 1:
        key = f"fold{fold}/eval{index}"
        trial.set_user_attr(key, trial.user_attrs[key] | {"best": point.value})
    return has_reported


def report_no_bits(trial: Trial, run: Run, fold: int, index: int) -> bool:
    """Report no bits of the rows that were right."""
    has_reported = report_estimate(trial, run, fold, index)
    if has_reported:
        key = f"fold{fold}/eval{index}"
        trial.set_user_attr(key, trial.user_attrs[key] | {"right": ""})
    return has_reported


def alternatives() -> list[Rule]:
    def made(name: str, pruner: Callable[[int, int], RacingPruner]) -> Rule:
        return Rule(name, lambda folds: pruner(folds, EVALUATIONS))

    return [
        racing_rule(name="as it is"),
        *(racing_rule(risk, f"risk {risk:g} in place of {RISK:g}") for risk in RISKS),
        made("against whole trials only", AgainstWholeTrials),
        made("taught by whole trials only", TaughtByWholeTrials),
        made("from half a fold on", FromHalfAFold),
        made("at the ends of folds only", AtFoldEnds),
        *(made(f"by what is left to pay, risk {risk:g}", partial(PerWorkLeft, risk=risk)) for risk in PER_WORK_RISKS),
        *(made(f"by the chance to win, risk {risk:g}", partial(ByChance, risk=risk)) for risk in CHANCE_RISKS),
        made(f"below a probability of {MIN_PROBABILITY:g}", BelowAProbability),
        Rule("the value, not best so far", lambda folds: RacingPruner(folds, EVALUATIONS), report_value),
        Rule("without bits", lambda folds: RacingPruner(folds, EVALUATIONS), report_no_bits),
        *(replace(racing_rule(name=f"{count} paused"), max_paused=count) for count in MAX_PAUSED),
    ]


def with_hindsight(order: Order, risk: float, max_paused: int) -> Rule:
    """The rule that has learnt from the trials of this very order."""
    trials = complete_trials(order.runs)
    return Rule("with hindsight", lambda folds: WithHindsight(trials, folds, risk), max_paused=max_paused)


def unpaired(order: Order) -> Order:
    """The order with the folds of each run rotated differently, so that the first fold is another one each time."""
    return replace(order, runs=tuple(rotate_folds(run, i) for i, run in enumerate(order.runs)))


def without_knobs(order: Order) -> Order:
    """The order with trials whose knobs are unknown."""
    return replace(order, runs=tuple(replace(run, params={}) for run in order.runs))


def visibility(runs: Sequence[Run], by_epoch: bool) -> list[float]:
    """How much of a fold's end shows at each point: the squared correlation of the best so far with the end.

    At equal fractions of the schedule, or `by_epoch`: at eighths of the shortest run's epochs.
    """
    shortest = min(run.steps[0] for run in runs)
    columns: list[list[float]] = [[] for _ in range(EVALUATIONS)]
    ends = []
    for run in runs:
        for fold, steps in enumerate(run.steps):
            ends.append(float(run.best[fold, -1]))
            for j in range(EVALUATIONS):
                at = int((j + 1) * shortest / steps) - 1 if by_epoch else j
                columns[j].append(max(float(run.best[fold, at]), 0.0) if at >= 0 else 0.0)
    return [float(np.corrcoef(column, ends)[0, 1] ** 2) if np.ptp(column) else 0.0 for column in columns]


def noise(runs: Sequence[Run]) -> tuple[float, float]:
    """Points (hundredths) by which configurations differ, and by which one differs from itself on another seed."""
    values: dict[int, list[float]] = {}
    for run in runs:
        values.setdefault(run.config, []).append(100 * run.value)
    pairs = np.array([pair for pair in values.values() if len(pair) == 2])
    return float(pairs.mean(axis=1).std(ddof=1)), float(np.sqrt((np.diff(pairs, axis=1) ** 2).mean() / 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--orders", type=int, default=60)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    runs = without_collapsed(read(arguments.curves))
    print("points: configurations differ by {:.1f}, one by {:.1f} on another seed".format(*noise(runs)))
    for name, by_epoch in (("at equal fractions of a fold", False), ("at equal steps", True)):
        print(f"the end of a fold shows {name}:", " ".join(f"{r:.2f}" for r in visibility(runs, by_epoch)))
    orders = random_orders(runs, arguments.orders)
    for rule in alternatives():
        _print(rule.name, [(order, rule) for order in orders], arguments.workers)
    as_it_is = racing_rule()
    _print("without knobs", [(without_knobs(order), as_it_is) for order in orders], arguments.workers)
    _print("another fold first each time", [(unpaired(order), as_it_is) for order in orders], arguments.workers)
    for max_paused in (0, MAX_PAUSED[0]):
        for risk in HINDSIGHT_RISKS:
            name = f"with hindsight, risk {risk:g}" + (f", {max_paused} paused" if max_paused else "")
            _print(name, [(order, with_hindsight(order, risk, max_paused)) for order in orders], arguments.workers)


def _print(name: str, studies: Sequence[tuple[Order, Rule]], workers: int) -> None:
    results = [play(order, rule.name, rule, workers) for order, rule in studies]
    excess = np.array(
        [result.regret - play(order, "none", None).regret for result, (order, _) in zip(results, studies, strict=True)]
    )
    error = excess.std() / np.sqrt(len(studies))
    compute = np.mean([result.compute for result in results])
    print(f"{name:40} compute {compute:.3f}   regret above none {excess.mean():+.2f} +- {error:.2f}", flush=True)


if __name__ == "__main__":
    main()
