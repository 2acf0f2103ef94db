"""What else racing could do: each decision of docs/racing.md replayed beside its alternatives.

    python -m benchmarks.alternatives --curves benchmarks/curves/klue_re.jsonl [--orders 100]

Nothing here is used elsewhere. The same orders as in benchmarks.racing, one worker.
"""

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import Trial

from benchmarks.racing import Order, kept, plain_orders, play, rotated
from benchmarks.recordings import EVALUATIONS, Run, read
from benchmarks.replay import report_estimate
from benchmarks.rules import Rule
from search.calibration import Calibration
from search.racing import RISK, RacingPruner


class FirstLook(RacingPruner):
    """May stop a trial from the given evaluation of its first fold on."""

    def __init__(self, folds: int, first_look: int, risk: float = RISK) -> None:
        super().__init__(folds, EVALUATIONS, risk)
        self._first_look = first_look


class AgainstIncumbent(RacingPruner):
    """Pairs a trial with the incumbent alone, not with the mean of the whole trials: both then scatter."""

    def calibration(self, study: optuna.Study) -> Calibration | None:
        found = super().calibration(study)
        return None if found is None else replace(found, cells=found.incumbent.best, scatter=2 * found.scatter)


class AgainstBestFew(RacingPruner):
    """Asks whether the trial would beat the mean of the best three, which are less lucky than the best."""

    def calibration(self, study: optuna.Study) -> Calibration | None:
        found = super().calibration(study)
        values = sorted(one.value for one in self._seen.values() if one.is_whole)[-3:]
        if found is None:
            return None
        fewer = replace(found.incumbent, best=found.incumbent.best + float(np.mean(values)) - found.incumbent.value)
        return replace(found, incumbent=fewer)


def report_value(trial: Trial, run: Run, fold: int, index: int) -> bool:
    """The value itself in place of the best so far, but at the end of a fold."""
    is_told = report_estimate(trial, run, fold, index)
    point = run.cells[fold][index]
    if point is not None and index < EVALUATIONS - 1:
        key = f"fold{fold}/eval{index}"
        trial.set_user_attr(key, trial.user_attrs[key] | {"best": point.value})
    return is_told


def report_no_bits(trial: Trial, run: Run, fold: int, index: int) -> bool:
    is_told = report_estimate(trial, run, fold, index)
    if is_told:
        key = f"fold{fold}/eval{index}"
        trial.set_user_attr(key, trial.user_attrs[key] | {"right": ""})
    return is_told


def alternatives() -> list[Rule]:
    def startup(count: int) -> Rule:
        return Rule(f"after {count} whole trials", lambda folds: RacingPruner(folds, EVALUATIONS, startup=count))

    def first(look: int) -> Rule:
        return Rule(f"from evaluation {look + 1} of 8", lambda folds: FirstLook(folds, look))

    return [
        Rule("as it is", lambda folds: RacingPruner(folds, EVALUATIONS)),
        *(first(look) for look in (0, 1, 2, 3, 5, 7)),
        *(startup(count) for count in (1, 3, 4)),
        Rule("paired with the incumbent", lambda folds: AgainstIncumbent(folds, EVALUATIONS)),
        Rule("to beat the best three", lambda folds: AgainstBestFew(folds, EVALUATIONS)),
        Rule("the value, not best so far", lambda folds: RacingPruner(folds, EVALUATIONS), report_value),
        Rule("without bits", lambda folds: RacingPruner(folds, EVALUATIONS), report_no_bits),
    ]


def unpaired(order: Order) -> Order:
    """The folds of each run in a rotation of its own: the first fold is another one each time."""
    return replace(order, runs=tuple(rotated(run, i) for i, run in enumerate(order.runs)))


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
    parser.add_argument("--orders", type=int, default=100)
    parser.add_argument("--trials", type=int, help="draw so many configurations for each order, with replacement")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    runs = kept(read(arguments.curves), with_collapsed=False)
    print("points: configurations differ by {:.1f}, one by {:.1f} on another seed".format(*noise(runs)))
    for name, by_epoch in (("at equal fractions of a fold", False), ("at equal steps", True)):
        print(f"the end of a fold shows {name}:", " ".join(f"{r:.2f}" for r in visibility(runs, by_epoch)))
    orders = plain_orders(runs, arguments.orders, arguments.trials)
    none = float(np.mean([play(order, "none", None).regret for order in orders]))
    for rule in alternatives():
        _print(rule.name, rule, orders, none)
    _print("another fold first each time", alternatives()[0], [unpaired(order) for order in orders], none)


def _print(name: str, rule: Rule, orders: Sequence[Order], none: float) -> None:
    results = [play(order, rule.name, rule) for order in orders]
    excess = np.array([result.regret for result in results]) - none
    error = excess.std() / np.sqrt(len(orders))
    compute = np.mean([result.compute for result in results])
    print(f"{name:30} compute {compute:.3f}   regret above none {excess.mean():+.2f} +- {error:.2f}", flush=True)


if __name__ == "__main__":
    main()
