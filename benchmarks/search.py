"""Live searches on KLUE-RE, each ended at several budgets: what its winner is worth there, trained again.

    python -m benchmarks.search --data train.csv [--budgets 150 400] [--seeds 1 2 3] [--output runs/bench-search]

Each way to search is `foldrace run` on the shipped study klue_re_tiny with `search.fold_epochs`, which is raised from
budget to budget. At each, the trial that an export would take is trained again on fresh splits with fresh seeds, and
scored on the test rows, whose labels lie in test_labels.csv beside the data. What is done is a line of searches.jsonl
in the output folder, and is not done again; a search that was cut off goes on.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import numpy as np
import sqlalchemy as sa

from benchmarks.retraining import accuracy, answers, train
from foldrace.search.compute import read_compute, read_seconds, total_fold_epochs
from foldrace.search.ensemble.export import select_trial
from foldrace.search.session import open_session
from foldrace.storage.optuna_rows import find_study_id
from foldrace.storage.workspace import Workspace
from foldrace.studies.knobs import Value
from foldrace.studies.loading import load
from foldrace.studies.study import Study
from foldrace.trainer.training_data import open_training_data

STUDY, TRIALS, FRESH, FRESH_SEED = "klue_re_tiny", 200, 4, 1000
WAYS: Mapping[str, Mapping[str, Value]] = {
    "foldrace": {},
    "foldrace_trials": {"search.order": "trials"},
    "tpe_halving": {"search.sampler": "tpe", "search.pruner": "successive_halving"},
}


@dataclass(frozen=True)
class Ended:
    """A search that ended at a budget.

    Attributes:
        spent: fold-epochs.
        hours: of the workers.
        trial: that an export takes.
        value: the mean of its folds.
        accuracies: of its recipe on the test rows, each time trained anew.
    """

    way: str
    seed: int
    budget: int
    spent: float
    hours: float
    trial: int
    value: float
    accuracies: tuple[float, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="KLUE-RE training rows; test.csv lies beside them")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--budgets", nargs="+", type=int, default=[150, 400], help="fold-epochs, in rising order")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/bench-search"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    kept = arguments.output / "searches.jsonl"
    done = {(one.way, one.seed, one.budget): one for one in read(kept)}
    for seed in arguments.seeds:
        for way in arguments.ways:
            for budget in arguments.budgets:
                if (way, seed, budget) not in done:
                    ended = done[way, seed, budget] = search(arguments, way, seed, budget)
                    with kept.open("a", encoding="utf-8") as file:
                        print(json.dumps(asdict(ended)), file=file)
                print(line(done[way, seed, budget]), flush=True)
    print("\n".join(compare(list(done.values()), arguments.ways, arguments.budgets)))


def read(kept: Path) -> Iterator[Ended]:
    """The searches that have ended."""
    for row in kept.read_text(encoding="utf-8").splitlines() if kept.exists() else ():
        stored = json.loads(row)
        yield Ended(**stored | {"accuracies": tuple(stored["accuracies"])})


def search(arguments: argparse.Namespace, way: str, seed: int, budget: int) -> Ended:
    """Run a search until its budget is spent, and train its winner again."""
    settings: dict[str, Value] = {
        "data.train": str(arguments.data.absolute()),
        "data.test": str(arguments.data.absolute().with_name("test.csv")),
        "search.seed": seed,
        "folds.seed": 77 + seed,
        "search.trials": TRIALS,
        "search.fold_epochs": budget,
        **WAYS[way],
    }
    name, workspace = f"{way}-{seed}", arguments.output.absolute()
    command = [sys.executable, "-m", "foldrace", "run", STUDY, "--as", name, "--workspace", str(workspace)]
    command += ["--workers", str(arguments.workers), "--devices", "cpu"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    study = load(STUDY, settings, name=name)
    with open_session(study, workspace) as session:
        winner = select_trial(session.database, study)
        spent, hours = session.database.read(lambda connection: _used(connection, study))
    trained = trained_again(study, winner.sampled, workspace, labels_of(arguments.data))
    return Ended(way, seed, budget, spent, hours, winner.number, winner.value, trained)


def _used(connection: sa.Connection, study: Study) -> tuple[float, float]:
    """Fold-epochs, and hours of workers."""
    number = find_study_id(connection, study.name)
    spent = total_fold_epochs(read_compute(connection, number, study), study).spent
    return spent, read_seconds(connection, number) / 3600


def labels_of(data: Path) -> list[str]:
    """The labels of the test rows."""
    with data.with_name("test_labels.csv").open(encoding="utf-8", newline="") as file:
        return [row["label"] for row in csv.DictReader(file)]


def trained_again(study: Study, sampled: dict[str, Value], workspace: Path, labels: Sequence[str]) -> tuple[float, ...]:
    """The accuracy on the test rows of a recipe, each time trained on a fresh split with a fresh seed."""
    data = open_training_data(study, Workspace(workspace, study.name))
    plans = [data.plan(study.folds.count, FRESH_SEED + turn) for turn in range(FRESH)]
    tasks = [data.task(study.hyperparameters(sampled), plan, 0, "cpu", predict_test=True) for plan in plans]
    return tuple(accuracy(data, plan, answers(train(task)), labels) for plan, task in zip(plans, tasks, strict=True))


def line(ended: Ended) -> str:
    return (
        f"{ended.way:16} seed {ended.seed}: {ended.spent:5.0f} fold-epochs, {60 * ended.hours:5.1f} worker minutes, "
        f"trial {ended.trial}: {ended.value:.4f} on its folds, {np.mean(ended.accuracies):.4f} on the test rows"
    )


def compare(done: Sequence[Ended], ways: Sequence[str], budgets: Sequence[int]) -> Iterator[str]:
    """By budget, each way against the first, paired by seed."""
    scores = {(one.way, one.seed, one.budget): float(np.mean(one.accuracies)) for one in done}
    for budget in budgets:
        for way in ways[1:]:
            seeds = [one.seed for one in done if one.way == way and one.budget == budget]
            pairs = [
                100 * (scores[ways[0], seed, budget] - scores[way, seed, budget])
                for seed in seeds
                if (ways[0], seed, budget) in scores
            ]
            if pairs:
                error = np.std(pairs, ddof=1) / len(pairs) ** 0.5 if len(pairs) > 1 else np.nan
                yield f"{budget} fold-epochs: {ways[0]} {np.mean(pairs):+.2f} +- {error:.2f} points against {way}"


if __name__ == "__main__":
    main()
