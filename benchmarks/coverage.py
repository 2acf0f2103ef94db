"""How often the intervals of scores hold what they are of on fresh data, and how wide they have to be.

    python -m benchmarks.coverage [--studies 100] [--processes 2] [--device cuda] [--output runs/bench-coverage]

One study is a small search on data that is drawn like the demo's, and a rescore of its leaders. The truth is the same
recipe trained anew on fresh sets of equal size, the best evaluation picked as in a fold, and judged on fresh rows.
Then the folds of a final job are trained; the truth of its out-of-fold score is the mean of its own models on the same
rows. Each study that is done is a line of studies.jsonl in the output folder, its database lies beside it, and it is
not run again.
"""

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: each process has one core

import numpy as np

from benchmarks.retraining import accuracy, answers, train
from foldrace.search.assessment.assess import assess
from foldrace.search.assessment.assessment import Assessment
from foldrace.search.assessment.half_splits import unbiased_score
from foldrace.search.assessment.reader import read_scores
from foldrace.search.ensemble.export import select_trial
from foldrace.search.launch.rescore import queue_rescore, rescored_study
from foldrace.search.session import Session, open_session
from foldrace.search.study_store import RESCORE
from foldrace.search.workers.entrypoint import WorkerOptions, run_worker
from foldrace.storage.workspace import Workspace
from foldrace.studies.demo.generator import labelled_rows
from foldrace.studies.knobs import Value
from foldrace.studies.loading import load
from foldrace.studies.study import Study
from foldrace.trainer.arrays import FloatArray
from foldrace.trainer.ensemble import out_of_fold, vote
from foldrace.trainer.training_data import open_training_data

ROWS, JUDGED_ROWS, FRESH_SETS, TRIALS, TOP = 800, 3000, 6, 8, 3
GOAL = 0.91  # of the intervals cover the truth
SETTINGS = {"training.epochs": {"low": 5, "high": 8}, "search.trials": TRIALS}


@dataclass(frozen=True)
class FinalCovered:
    """The out-of-fold score of a final job.

    Attributes:
        accuracy: of the best evaluations, and its interval.
        unbiased: less the luck of the best evaluations; `final` tells its interval.
        truth, ensemble: accuracies on fresh rows, the mean of the models and that of their vote.
    """

    accuracy: tuple[float, float, float]
    unbiased: float
    truth: float
    ensemble: float


@dataclass(frozen=True)
class Covered:
    """One study: its leader's scores, before the rescore and after it, each with the truth of that leader."""

    number: int
    believed: tuple[float, float, float]
    believed_truth: float
    honest: tuple[float, float, float]
    honest_truth: float
    chosen: float
    final: FinalCovered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="the number of the first study, which draws its data")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of every process")
    parser.add_argument("--output", type=Path, default=Path("runs/bench-coverage"))
    arguments = parser.parse_args()
    kept = arguments.output / "studies.jsonl"
    done = read(kept)
    numbers = range(arguments.first, arguments.first + arguments.studies)
    left = [number for number in numbers if number not in {study.number for study in done}]
    with ProcessPoolExecutor(arguments.processes) as pool:
        played = [pool.submit(run_study, arguments.output, arguments.device, number) for number in left]
        try:
            for study in (one.result() for one in as_completed(played)):
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(study)) + "\n")
                done.append(study)
                print(f"study {study.number}: {len(done)} of {arguments.studies}", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)  # one study failed: those that wait are not played
    for line in report(done):
        print(line)


def read(kept: Path) -> list[Covered]:
    """The studies that are done."""
    if not kept.exists():
        return []
    lines = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    return [Covered(**line | {"final": FinalCovered(**line["final"])}) for line in lines]


def report(studies: Sequence[Covered]) -> list[str]:
    """A line for each kind of score."""
    honest = [(study.honest, study.honest_truth) for study in studies]
    believed = [(study.believed, study.believed_truth) for study in studies]
    out_of_fold = [(study.final.accuracy, study.final.truth) for study in studies]
    without_luck = [(_moved(study.final.accuracy, study.final.unbiased), study.final.truth) for study in studies]
    luck = np.mean([study.chosen - study.honest_truth for study in studies])
    gains = np.array([study.final.ensemble - study.final.truth for study in studies])
    return [
        f"{len(studies)} studies; chosen on these folds: {luck:+.4f} too high on average",
        f"folds that did not choose it: {coverage(honest)}",
        f"believed: {coverage(believed)}",
        f"out of fold: {coverage(out_of_fold)}",
        f"out of fold, less the luck of the best evaluations: {coverage(without_luck)}",
        f"the ensemble gains {_mean(gains)}",
    ]


def _moved(score: tuple[float, float, float], mean: float) -> tuple[float, float, float]:
    """The interval of a score, around another mean."""
    value, low, high = score
    return mean, mean + low - value, mean + high - value


def _mean(values: FloatArray) -> str:
    return f"{values.mean():+.4f} +- {values.std(ddof=1) / len(values) ** 0.5:.4f}"


def coverage(scores: Sequence[tuple[tuple[float, float, float], float]]) -> str:
    """How many intervals cover, and their width over the narrowest that would cover as many as is asked."""
    means, lows, highs = np.array([score for score, _ in scores]).T
    truths = np.array([truth for _, truth in scores])
    covers, half = (lows <= truths) & (truths <= highs), (highs - lows) / 2
    needed = np.quantile(np.abs(means - truths) / half, GOAL)
    return (
        f"covers {covers.sum()} of {len(scores)}, {1 / needed:.2f} times the narrowest that covers {GOAL:.0%}; "
        f"{np.mean(means - truths):+.4f} too high on average, +-{half.mean():.4f}"
    )


def run_study(output: Path, device: str, number: int) -> Covered:
    """Search, rescore and truth of one study; a search that was cut off goes on."""
    folder = output / f"study-{number:03}"
    study, _ = _study(folder, number + 1, judged=number + 1)
    with open_session(study, folder) as session:
        run_worker(session, WorkerOptions(device), lambda: False)
        before = _assessed(session, with_rescore=False)
        queue_rescore(session, TOP, 1)
        fresh = Session(rescored_study(study), session.workspace, session.database)
        run_worker(fresh, WorkerOptions(device, job=RESCORE), lambda: False)
        after = _assessed(session, with_rescore=True)
        knobs = {
            trial: select_trial(session.database, study, str(trial)).sampled for trial in (before.trial, after.trial)
        }
    truths = {trial: truth_of(folder, device, number, sampled) for trial, sampled in knobs.items()}
    final = final_of(folder, device, study, knobs[after.trial])
    (folder / "study" / "study.db").replace(output / f"study-{number:03}.db")
    shutil.rmtree(folder)
    found = [(one.honest.mean, one.honest.low, one.honest.high) for one in (before, after)]
    return Covered(number, found[0], truths[before.trial], found[1], truths[after.trial], after.chosen, final)


def truth_of(folder: Path, device: str, number: int, sampled: dict[str, Value]) -> float:
    """The mean accuracy of a recipe on fresh rows, each time trained on a fresh set."""
    scores = []
    for turn in range(FRESH_SETS):
        seed = 1_000_000 + number * 1000 + turn
        place = folder / f"truth-{turn}"
        study, labels = _study(place, seed, judged=seed + FRESH_SETS)
        data = open_training_data(study, Workspace(place, "truth"))
        plan = data.plan(study.folds.count, seed)
        result = train(data.task(study.hyperparameters(sampled), plan, 0, device, predict_test=True))
        scores.append(accuracy(data, plan, answers(result), labels))
    return float(np.mean(scores))


def final_of(folder: Path, device: str, study: Study, sampled: dict[str, Value]) -> FinalCovered:
    """The out-of-fold score of a recipe's final job, and what its models are worth on fresh rows."""
    judged, labels = _study(folder / "final", study.search.seed + 1, judged=2_000_000 + study.search.seed)
    data = open_training_data(judged, Workspace(folder / "final", "final"))
    plan, knobs = data.plan(study.final.folds, study.folds.seed), study.hyperparameters(sampled)
    tasks = [data.task(knobs, plan, fold, device, predict_test=True) for fold in range(plan.count)]
    results = [train(task) for task in tasks]
    scored = out_of_fold([(plan, [result.probabilities for result in results])], data.labels)
    picked = [unbiased_score(result.curve) for result in results]
    assert None not in picked
    rows = [len(task.validation) for task in tasks]
    answered = [answers(result) for result in results]
    return FinalCovered(
        accuracy=(scored.score(data.examples.labels.no_relation).accuracy, *scored.accuracy_interval()),
        unbiased=float(np.average(np.array(picked, dtype=float), weights=rows)),
        truth=float(np.mean([accuracy(data, plan, one, labels) for one in answered])),
        ensemble=accuracy(data, plan, vote(answered, "probabilities"), labels),
    )


def _study(folder: Path, seed: int, judged: int) -> tuple[Study, list[str]]:
    """A study of rows that are drawn by a seed, and the labels of its test rows, which another one draws."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.tsv").write_bytes(labelled_rows(seed, ROWS)[0])
    _, blind, labels = labelled_rows(judged, JUDGED_ROWS)
    (folder / "test.tsv").write_bytes(blind)
    files = {"data.train": str(folder / "train.tsv"), "data.test": str(folder / "test.tsv")}
    seeds = {"folds.seed": seed - 1, "search.seed": seed - 1}
    return load("demo", SETTINGS | files | seeds, name="study"), labels


def _assessed(session: Session, *, with_rescore: bool) -> Assessment:
    found = assess(read_scores(session.database, session.study.name, with_rescore=with_rescore))
    assert found is not None
    return found


if __name__ == "__main__":
    main()
