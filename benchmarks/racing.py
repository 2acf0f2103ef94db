"""Compare pruning rules on recorded curves: what they spend, and how good the trial is that is chosen in the end.

    python -m benchmarks.racing --curves benchmarks/curves/klue_re.jsonl [--orders 200] [--json]

Each order is a study of all configurations with one seed; the chosen one is scored on its other seeds. Regret is in
accuracy points (hundredths). Collapsed configurations are left out unless asked for. Intervals: 95 %, by bootstrap over
configurations.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.recordings import CurveError, Run, is_collapsed, read
from benchmarks.replay import Replay, replay
from benchmarks.rules import Rule, fold_rules, our_rule, stock_rules

RECORDED = Path(__file__).parent / "curves"
PARALLEL = 4  # simulated workers
ORDERS_OF_A_RESAMPLE = 4
MARGINS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12)  # tried for the shrinking margin, in the metric's units
DEFAULT_MARGIN = 0.04  # where there is no other data set to tune it on
ALLOWED_REGRET = 0.2  # points above no pruning's


@dataclass(frozen=True)
class Order:
    """One study: the runs of one seed, in some order; `scores` are those of the same configurations on other seeds."""

    name: str
    runs: tuple[Run, ...]
    scores: NDArray[np.float64]
    levels: NDArray[np.float64]  # mean over all seeds: the best estimate of how good a configuration is


@dataclass(frozen=True)
class Result:
    """One order under one rule: compute as a fraction of no pruning, regret in points, the best one was pruned."""

    compute: float
    regret: float
    lost_best: bool


def main() -> None:
    arguments = _arguments()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    try:
        _compare(arguments)
    except CurveError as error:
        sys.exit(str(error))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, required=True, help="the file that is replayed")
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=25, help="of the configurations, for the intervals")
    parser.add_argument("--tune-on", type=Path, nargs="*", help="files to tune the shrinking margin on")
    parser.add_argument("--risks", type=float, nargs="*", default=[], help="more risks of ours to try")
    parser.add_argument("--with-collapsed", action="store_true")
    parser.add_argument("--rules", nargs="*", help="only these")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser.parse_args()


def _compare(arguments: argparse.Namespace) -> None:
    runs = kept(read(arguments.curves), arguments.with_collapsed)
    margin = tuned_margin(arguments.curves, arguments.tune_on)
    rules = [
        *stock_rules(),
        *fold_rules(margin),
        our_rule(),
        *(our_rule(r, f"foldrace {r:g}") for r in arguments.risks),
    ]
    if arguments.rules:
        rules = [rule for rule in rules if rule.name in arguments.rules]
    orders = plain_orders(runs, arguments.orders)
    resampled = resampled_orders(runs, arguments.resamples)
    print(
        f"{arguments.curves.name}: {len({r.config for r in runs})} configurations, {arguments.orders} orders; ", end=""
    )
    print(f"the shrinking margin is {margin:g}, tuned on other data", flush=True)
    print(f"{'rule':20} {'compute':>20} {'regret':>20} {'p90':>6} {'best pruned':>12}   4 workers", flush=True)
    found = {}
    for name, rule in {"none": None, **{rule.name: rule for rule in rules}, "oracle": None}.items():
        found[name] = summary(name, rule, orders, resampled)
        print(_line(name, found[name]), flush=True)
    if arguments.json:
        print(json.dumps({"rules": found}))


def kept(runs: list[Run], with_collapsed: bool) -> list[Run]:
    collapsed = set() if with_collapsed else is_collapsed(runs)
    return [run for run in runs if run.config not in collapsed]


def plain_orders(runs: Sequence[Run], count: int) -> list[Order]:
    """Random orders of all configurations; the seeds take turns."""
    return [_order(runs, i, np.random.default_rng([1, i]), resample=False) for i in range(count)]


def resampled_orders(runs: Sequence[Run], count: int) -> list[list[Order]]:
    """For each bootstrap resample of the configurations, some orders of it."""
    return [
        [_order(runs, i, np.random.default_rng([2, b]), resample=True, turn=i) for i in range(ORDERS_OF_A_RESAMPLE)]
        for b in range(count)
    ]


def _order(runs: Sequence[Run], i: int, random: np.random.Generator, resample: bool, turn: int = 0) -> Order:
    by_seed: dict[int, dict[int, Run]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, {})[run.config] = run
    most = max(len(of_seed) for of_seed in by_seed.values())
    seeds = [seed for seed, of_seed in sorted(by_seed.items()) if len(of_seed) >= 0.8 * most]
    seed = seeds[i % len(seeds)]
    played = by_seed[seed]
    configs = random.choice(list(played), len(played), replace=resample)
    for _ in range(turn + 1):
        configs = random.permutation(configs)
    others = {c: [of[c].value for s, of in by_seed.items() if s != seed and c in of] for c in played}
    scores = {c: float(np.mean(others[c])) if others[c] else played[c].value for c in played}
    levels = {c: float(np.mean([*others[c], played[c].value])) for c in played}
    return Order(
        f"order-{i}",
        tuple(played[c] for c in configs),
        np.array([scores[c] for c in configs]),
        np.array([levels[c] for c in configs]),
    )


def play(order: Order, name: str, rule: Rule | None, workers: int = 1) -> Result:
    """One order under one rule; without a rule, `none` or the `oracle` that knows the winner beforehand."""
    if rule is None:
        done = _without_rule(order, name)
    else:
        done = replay(order.runs, rule.make(len(order.runs[0].cells)), rule.report, workers, order.name)
    spent = done.spent.sum() / sum(run.total_cost for run in order.runs)
    regret = 100 * (order.scores.max() - order.scores[done.chosen(order.runs)])
    return Result(float(spent), float(regret), not done.complete[int(order.levels.argmax())])


def _without_rule(order: Order, name: str) -> Replay:
    runs = order.runs
    winner = max(range(len(runs)), key=lambda i: (runs[i].value, -i))
    complete = np.array([name == "none" or i == winner for i in range(len(runs))])
    spent = np.array([run.total_cost if c else run.cost(0, 0) for run, c in zip(runs, complete, strict=True)])
    return Replay(spent, complete)


def summary(name: str, rule: Rule | None, orders: list[Order], resampled: list[list[Order]]) -> dict[str, Any]:
    """What `--json` prints for a rule."""
    alone = [play(order, name, rule) for order in orders]
    parallel = alone if rule is None else [play(order, name, rule, PARALLEL) for order in orders]
    none = np.array([play(order, "none", None).regret for order in orders])
    replicates = [[play(order, name, rule) for order in resample] for resample in resampled]
    base = [[play(order, "none", None).regret for order in resample] for resample in resampled]
    regrets = [float(np.mean([result.regret for result in replicate])) for replicate in replicates]
    excess = [regret - float(np.mean(none_there)) for regret, none_there in zip(regrets, base, strict=True)]
    computes = [float(np.mean([result.compute for result in replicate])) for replicate in replicates]
    return {
        **_means(alone),
        "compute_interval": _interval(computes),
        "regret_p90": float(np.percentile([result.regret for result in alone], 90)),
        "regret_interval": _interval(regrets),
        "excess_regret": float(np.mean([result.regret for result in alone]) - none.mean()),
        "excess_interval": _interval(excess),
        "parallel": _means(parallel),
    }


def _means(results: Sequence[Result]) -> dict[str, float]:
    return {
        "compute": float(np.mean([result.compute for result in results])),
        "regret_mean": float(np.mean([result.regret for result in results])),
        "best_pruned": float(np.mean([result.lost_best for result in results])),
    }


def _interval(values: Sequence[float]) -> list[float]:
    return [float(v) for v in np.percentile(values, [2.5, 97.5])] if values else []


def _line(name: str, found: dict[str, Any]) -> str:
    low, high = found["compute_interval"] or (float("nan"),) * 2
    regret_low, regret_high = found["excess_interval"] or (float("nan"),) * 2
    parallel = found["parallel"]
    return (
        f"{name:20} {found['compute']:6.3f} [{low:.3f}, {high:.3f}] {found['regret_mean']:6.2f} "
        f"{found['excess_regret']:+.2f} [{regret_low:+.2f}, {regret_high:+.2f}] {found['regret_p90']:6.2f} "
        f"{found['best_pruned']:8.0%}   {parallel['compute']:.3f} {parallel['regret_mean']:.2f}"
    )


def tuned_margin(scored: Path, tune_on: Sequence[Path] | None) -> float:
    """The margin that spends least on other data sets at a regret not above no pruning's by more than allowed."""
    files = (
        [path for path in sorted(RECORDED.glob("*.jsonl")) if path.name != scored.name] if tune_on is None else tune_on
    )
    if not files:
        return DEFAULT_MARGIN
    sets = [plain_orders(kept(read(path), with_collapsed=False), 40) for path in files]
    orders = [order for of_file in sets for order in of_file]
    none = np.mean([play(order, "none", None).regret for order in orders])
    fits = []
    for margin in MARGINS:
        rule = next(rule for rule in fold_rules(margin) if rule.name == "shrinking_margin")
        results = [play(order, rule.name, rule) for order in orders]
        if np.mean([result.regret for result in results]) <= none + ALLOWED_REGRET:
            fits.append((float(np.mean([result.compute for result in results])), margin))
    return min(fits)[1] if fits else max(MARGINS)


if __name__ == "__main__":
    main()
