"""Compare pruning rules on recorded curves: the compute they spend, and the regret of the trial that is chosen.

    python -m benchmarks.racing --curves benchmarks/curves/klue_re.jsonl [--orders 200] [--json]

Each order is a study of all configurations with one seed; the trial that is chosen is scored on its other seeds. Regret
is in accuracy points (hundredths). Collapsed configurations are left out unless asked for. Intervals are 95 %, by
bootstrap over configurations.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.recordings import CurveError, Run, collapsed_configurations, read
from benchmarks.replay import Replay, Simulation, replay
from benchmarks.rules import Rule, fold_rules, racing_rule, stock_rules

RECORDED = Path(__file__).parent / "curves"
PARALLEL = 4  # simulated workers
PARALLEL_ORDERS = 60  # at most: enough to see that the simulated workers change little
ORDERS_OF_A_RESAMPLE = 4
TUNING_ORDERS = 20  # of each file
MARGINS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12)  # tried for the shrinking margin, in the metric's units
DEFAULT_MARGIN = 0.04  # where there is no other data set to tune it on
ALLOWED_REGRET = 0.2  # points above no pruning's


@dataclass(frozen=True)
class Order:
    """One study: the runs of one seed, in some order.

    Attributes:
        scores: (runs,), the values of the same configurations on their other seeds.
        levels: (runs,), their mean over all seeds: the best estimate of how good a configuration is.
    """

    name: str
    runs: tuple[Run, ...]
    scores: NDArray[np.float64]
    levels: NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """One order under one rule.

    Attributes:
        compute: as a fraction of no pruning.
        regret: points by which the score of the trial that was chosen is below the best score.
        lost_best: the best configuration was pruned.
        lost_improvement: of the lead of the best run over the average one, the share that was lost; on the seed that
            was played, without the noise between seeds.
    """

    compute: float
    regret: float
    lost_best: bool
    lost_improvement: float


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
    parser.add_argument("--trials", type=int, help="draw so many configurations for each order, with replacement")
    parser.add_argument("--tune-on", type=Path, nargs="*", help="files to tune the shrinking margin on")
    parser.add_argument("--risks", type=float, nargs="*", default=[], help="more risks of ours to try")
    parser.add_argument("--with-collapsed", action="store_true")
    parser.add_argument("--rules", nargs="*", help="only these")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser.parse_args()


def _compare(arguments: argparse.Namespace) -> None:
    runs = read(arguments.curves)
    runs = runs if arguments.with_collapsed else without_collapsed(runs)
    margin = tune_margin(arguments.curves, arguments.tune_on)
    rules = [
        *stock_rules(),
        *fold_rules(margin),
        racing_rule(),
        *(racing_rule(r, f"racing {r:g}") for r in arguments.risks),
    ]
    if arguments.rules:
        rules = [rule for rule in rules if rule.name in arguments.rules]
    orders = random_orders(runs, arguments.orders, arguments.trials)
    resampled = bootstrap_orders(runs, arguments.resamples, arguments.trials)
    print(
        f"{arguments.curves.name}: {len({r.config for r in runs})} configurations, {arguments.orders} orders; ", end=""
    )
    print(f"the shrinking margin is {margin:g}, tuned on other data", flush=True)
    print(
        f"{'rule':20} {'compute':>20} {'regret':>20} {'p90':>6} {'best pruned':>12} {'lost':>6}   4 workers", flush=True
    )
    found = {}
    for name, rule in {"none": None, **{rule.name: rule for rule in rules}, "oracle": None}.items():
        found[name] = summarise(name, rule, orders, resampled)
        print(_line(name, found[name]), flush=True)
    if arguments.json:
        print(json.dumps({"rules": found}))


def without_collapsed(runs: list[Run]) -> list[Run]:
    collapsed = collapsed_configurations(runs)
    return [run for run in runs if run.config not in collapsed]


def random_orders(runs: Sequence[Run], count: int, trials: int | None = None) -> list[Order]:
    """Random orders of all configurations, or of `trials` draws of them; the seeds take turns."""
    orders = []
    for i in range(count):
        random, played = np.random.default_rng([1, i]), _seed(runs, i)
        configs = random.permutation(list(played)) if trials is None else random.choice(list(played), trials)
        orders.append(_order(runs, played, configs.tolist(), f"order-{i}"))
    return orders


def bootstrap_orders(runs: Sequence[Run], count: int, trials: int | None = None) -> list[list[Order]]:
    """For each bootstrap resample of the configurations, some orders of it."""
    found = []
    for b in range(count):
        random, played = np.random.default_rng([2, b]), [_seed(runs, i) for i in range(ORDERS_OF_A_RESAMPLE)]
        resample = random.choice(sorted(set.intersection(*map(set, played))), len(played[0]))
        drawn = [random.permutation(resample) if trials is None else random.choice(resample, trials) for _ in played]
        found.append(
            [_order(runs, p, d.tolist(), f"order-{i}") for i, (p, d) in enumerate(zip(played, drawn, strict=True))]
        )
    return found


def _seed(runs: Sequence[Run], turn: int) -> dict[int, Run]:
    """The runs of one seed, by configuration; of the seeds that have nearly all, each in its turn."""
    by_seed: dict[int, dict[int, Run]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, {})[run.config] = run
    most = max(len(of_seed) for of_seed in by_seed.values())
    whole = [of_seed for _, of_seed in sorted(by_seed.items()) if len(of_seed) >= 0.8 * most]
    return whole[turn % len(whole)]


def _order(runs: Sequence[Run], played: dict[int, Run], configs: list[int], name: str) -> Order:
    scores, levels, chosen = [], [], []
    for i, config in enumerate(configs):
        run = played[config]
        others = [other.value for other in runs if other.config == config and other.seed != run.seed]
        scores.append(float(np.mean(others)) if others else run.value)
        levels.append(float(np.mean([*others, run.value])))
        chosen.append(rotate_folds(run, configs[:i].count(config)))
    return Order(name, tuple(chosen), np.array(scores), np.array(levels))


def rotate_folds(run: Run, by: int) -> Run:
    """The run with another fold first, so that a configuration that is drawn again is not the same trial again."""
    by %= len(run.cells)
    return replace(run, cells=(*run.cells[by:], *run.cells[:by]), steps=(*run.steps[by:], *run.steps[:by]))


def play(order: Order, name: str, rule: Rule | None, workers: int = 1) -> Result:
    """One order under one rule; without a rule, `none` or the `oracle` that knows the winner beforehand."""
    if rule is None:
        done = _without_rule(order, name)
    else:
        pruner = rule.make(len(order.runs[0].cells))
        done = replay(order.runs, pruner, rule.report, Simulation(workers, order.name, rule.max_paused))
    spent = done.spent.sum() / sum(run.total_cost for run in order.runs)
    regret = 100 * (order.scores.max() - order.scores[done.best_run(order.runs)])
    values = np.array([run.value for run in order.runs])
    lost = (values.max() - values[done.best_run(order.runs)]) / max(values.max() - values.mean(), 1e-12)
    return Result(float(spent), float(regret), not done.complete[int(order.levels.argmax())], float(lost))


def _without_rule(order: Order, name: str) -> Replay:
    runs = order.runs
    winner = max(range(len(runs)), key=lambda i: (runs[i].value, -i))
    complete = np.array([name == "none" or i == winner for i in range(len(runs))])
    spent = np.array([run.total_cost if c else run.cost(0, 0) for run, c in zip(runs, complete, strict=True)])
    return Replay(spent, complete)


def summarise(name: str, rule: Rule | None, orders: list[Order], resampled: list[list[Order]]) -> dict[str, Any]:
    """The figures of a rule, as `--json` prints them."""
    alone = [play(order, name, rule) for order in orders]
    parallel = alone if rule is None else [play(order, name, rule, PARALLEL) for order in orders[:PARALLEL_ORDERS]]
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
        "lost_improvement": float(np.mean([result.lost_improvement for result in results])),
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
        f"{found['best_pruned']:8.0%} {found['lost_improvement']:11.1%}   "
        f"{parallel['compute']:.3f} {parallel['regret_mean']:.2f}"
    )


def _data(path: Path) -> str:
    """Which data a recording is of; one of the late riser's is of the same."""
    return path.stem.removesuffix("_late")


def tune_margin(scored: Path, tune_on: Sequence[Path] | None) -> float:
    """The margin that spends least on other data sets at a regret not above no pruning's by more than allowed."""
    files = [path for path in sorted(RECORDED.glob("*.jsonl")) if _data(path) != _data(scored)]
    files = files if tune_on is None else list(tune_on)
    if not files:
        return DEFAULT_MARGIN
    sets = [random_orders(without_collapsed(read(path)), TUNING_ORDERS) for path in files]
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
