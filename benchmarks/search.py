"""The same search, live, by the product's defaults and by TPE with a pruner of Optuna's: what each finds, for how many
fold-epochs and seconds.

    python -m benchmarks.search --data train.csv [--trials 24] [--workers 2] [--output runs/bench-search]

Runs `foldrace run` on the shipped study klue_re_tiny, the pruners taking turns, once for each seed; then prints a
table, and draws the best accuracy so far against the fold-epochs spent. Each search that has ended is kept in
searches.jsonl in the output folder, and not run again.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import optuna
from optuna.trial import FrozenTrial

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after the backend is chosen

STUDY = "klue_re_tiny"
EVALUATIONS = 8
COLOURS = {"racing": "#c2410c", "successive_halving": "#1d4ed8", "median": "#15803d", "hyperband": "#7e22ce"}


@dataclass(frozen=True)
class Search:
    """One search that has ended.

    Attributes:
        path: (fold-epochs spent, best accuracy so far), after each trial that ended.
        seconds: wall time of the whole run.
    """

    pruner: str
    seed: int
    path: tuple[tuple[float, float], ...]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="KLUE-RE training rows; test.csv lies beside them")
    parser.add_argument("--pruners", nargs="+", default=["racing", "successive_halving"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/bench-search"))
    parser.add_argument("--picture", type=Path, help="default: search.png in the output folder")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kept = arguments.output / "searches.jsonl"
    done = read(kept)
    searches = []
    for seed in arguments.seeds:
        for pruner in arguments.pruners:
            search = done.get((pruner, seed)) or run(pruner, seed, arguments)
            if (pruner, seed) not in done:
                with kept.open("a", encoding="utf-8") as file:
                    print(json.dumps(asdict(search)), file=file)
            searches.append(search)
            print(line(search), flush=True)
    draw(searches, arguments.picture or arguments.output / "search.png")


def read(kept: Path) -> dict[tuple[str, int], Search]:
    """The searches that have ended, by pruner and seed."""
    if not kept.exists():
        return {}
    rows = [json.loads(row) for row in kept.read_text(encoding="utf-8").splitlines()]
    return {
        (row["pruner"], row["seed"]): Search(**{**row, "path": tuple((s, b) for s, b in row["path"])}) for row in rows
    }


def run(pruner: str, seed: int, arguments: argparse.Namespace) -> Search:
    """One search by the command line, in a folder and a database of its own; one that was cut off begins again."""
    folder = arguments.output.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{pruner}-{seed}"
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / f"{name}.db").unlink(missing_ok=True)
    storage = f"sqlite:///{folder / name}.db"
    settings = {
        "data.train": arguments.data.absolute(),
        "data.test": arguments.data.absolute().with_name("test.csv"),
        "search.pruner": pruner,
        "search.sampler": "gp" if pruner == "racing" else "tpe",
        "search.seed": seed,
        "folds.seed": 77 + seed,
        "search.storage": storage,
    }
    command = [sys.executable, "-m", "foldrace", "run", STUDY, "--as", name, "--workspace", str(folder)]
    command += ["--trials", str(arguments.trials), "--workers", str(arguments.workers), "--devices", "cpu"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    return Search(pruner, seed, path(trials), seconds)


def path(trials: list[FrozenTrial]) -> tuple[tuple[float, float], ...]:
    """(fold-epochs spent, best value so far) after each trial, in the order in which they ended."""
    spent, best, points = 0.0, 0.0, []
    for trial in sorted((t for t in trials if t.datetime_complete), key=lambda t: str(t.datetime_complete)):
        spent += len(trial.intermediate_values) / EVALUATIONS * float(trial.params["epochs"])
        if trial.state == optuna.trial.TrialState.COMPLETE and trial.value is not None:
            best = max(best, trial.value)
        points.append((spent, best))
    return tuple(points)


def line(search: Search) -> str:
    spent, best = search.path[-1]
    return (
        f"{search.pruner:20} seed {search.seed}: accuracy {best:.4f} "
        f"for {spent:6.0f} fold-epochs, {search.seconds:5.0f} s, {len(search.path)} trials"
    )


def draw(searches: list[Search], target: Path) -> None:
    """The best accuracy so far against fold-epochs, a line for each search."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for search in searches:
        spent, best = zip(*search.path, strict=True)
        label = search.pruner if search.seed == searches[0].seed else None
        axes.step(spent, best, where="post", color=COLOURS.get(search.pruner, "#525252"), label=label, alpha=0.8)
    lowest = min(best for search in searches for _, best in search.path if best > 0)
    axes.set(xlabel="fold-epochs spent", ylabel="best mean accuracy of the folds so far", ylim=(lowest - 0.02, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
