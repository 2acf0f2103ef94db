"""Record learning curves: real trainings of random configurations, each with two seeds, to replay pruning rules on.

    python -m benchmarks.record_curves demo
    python -m benchmarks.record_curves klue_re --data train.csv --minutes 90
    python -m benchmarks.record_curves pretrained --data train.csv --model FOLDER --configs 12

One JSON line a run, in the format of benchmarks/curves/README.md; what is already in the file is not trained again.
Only curves are recorded, and which rows were right: no text of the data.
"""

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.curve_sources import SEARCHED, SOURCES, Source
from foldrace.errors import FoldraceError
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import parse
from foldrace.studies.settings import Choices, Range
from foldrace.studies.study import Study
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.tasks import NonFiniteLossError
from foldrace.trainer.training_data import TrainingData, open_training_data

SEEDS = (77, 1078)  # of the folds, the weights and the order; configuration by configuration, so any prefix is of use
OUTPUT = Path(__file__).parent / "curves"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", choices=SOURCES)
    parser.add_argument("--data", type=Path, help="the training file; demo has its own")
    parser.add_argument("--model", default="tiny", help="a folder with an encoder, or its name on the hub")
    parser.add_argument("--output", type=Path, help="default: benchmarks/curves/SOURCE.jsonl")
    parser.add_argument("--configs", type=int, default=60, help="how many, by their numbers")
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="of the configurations")
    parser.add_argument("--seeds", type=int, choices=range(1, len(SEEDS) + 1), default=len(SEEDS), help="of each one")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no run after so many")
    parser.add_argument("--workspace", type=Path, default=Path("runs/record-curves"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = SOURCES[arguments.source]
    file = arguments.data or source.data
    if file is None:
        parser.error(f"{arguments.source} needs --data")
    try:
        data = open_source(arguments.source, source, file, arguments.model, arguments.workspace)
        output = arguments.output or OUTPUT / f"{arguments.source}.jsonl"
        configs = range(arguments.first, arguments.first + arguments.configs)
        record(data, output, configs, SEEDS[: arguments.seeds], arguments.minutes * 60)
    except FoldraceError as error:
        sys.exit(str(error))


def open_source(name: str, source: Source, file: Path, model: str, folder: Path) -> TrainingData:
    """The data set's short sentences, ready to be trained on; files go into `folder`."""
    short = folder / name / f"short{file.suffix}"
    write_short(file, short, source.longest)
    return open_training_data(study_of(name, source, short, model), Workspace(folder, name))


def record(data: TrainingData, output: Path, configs: Sequence[int], seeds: Sequence[int], seconds: float) -> None:
    """Append the runs that `output` does not hold yet, until all `configs` are done or `seconds` are over."""
    started, done = time.monotonic(), recorded(output)
    for config in configs:
        for seed in seeds:
            if time.monotonic() - started > seconds:
                return
            if (config, seed) not in done:
                line = json.dumps(run(data, config, seed))
                with output.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")


def write_short(data: Path, output: Path, longest: int) -> None:
    """The rows of a CSV or TSV file whose sentence (second column) has at most `longest` characters."""
    delimiter = "\t" if data.suffix == ".tsv" else ","
    output.parent.mkdir(parents=True, exist_ok=True)
    with data.open(encoding="utf-8", newline="") as read, output.open("w", encoding="utf-8", newline="") as written:
        rows = csv.reader(read, delimiter=delimiter)
        csv.writer(written, delimiter=delimiter).writerows(row for row in rows if len(row[1]) <= longest)


def study_of(name: str, source: Source, data: Path, model: str) -> Study:
    raw = {
        "name": name,
        "data": {"train": str(data.absolute()), "exclude_labels": list(source.exclude_labels)},
        "model": {"name": model, "max_length": 128},
        "folds": {"count": source.folds, "oversample_minority": False},
        "training": SEARCHED | source.training,
    }
    return parse(raw, f"recording {name}")


def recorded(path: Path) -> set[tuple[int, int]]:
    """The configuration and seed of each run in the file; a line cut short by a kill is an error to be mended."""
    if not path.exists():
        return set()
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except json.JSONDecodeError as error:
        raise FoldraceError(f"{path}: line cut short ({error}); delete its last line to go on") from None
    return {(line["config"], line["seed"]) for line in lines}


def draw_configuration(study: Study, config: int) -> dict[str, Any]:
    """Configuration number `config`: a pure function of the number and the ranges."""
    random = np.random.default_rng([20260, config])
    return {knob: _draw_one(setting, random) for knob, setting in study.searched.items()}


def _draw_one(setting: Range | Choices, random: np.random.Generator) -> Any:
    if isinstance(setting, Choices):
        return setting.choices[int(random.integers(len(setting.choices)))]
    if setting.log:
        return math.exp(random.uniform(math.log(setting.low), math.log(setting.high)))
    if setting.low == int(setting.low) and setting.high == int(setting.high) and setting.high > 1:
        return int(random.integers(int(setting.low), int(setting.high) + 1))
    return random.uniform(setting.low, setting.high)


def run(data: TrainingData, config: int, seed: int) -> dict[str, Any]:
    """One configuration with one seed over all folds, as the plain data of a line."""
    sampled = draw_configuration(data.study, config)
    knobs = data.study.hyperparameters(sampled)
    plan = data.plan(data.study.folds.count, seed)
    tasks = [data.task(knobs, plan, fold, "cpu") for fold in range(plan.count)]
    started = time.perf_counter()
    curves = [list(_points(train_fold(task), knobs.evaluations)) for task in tasks]
    return {
        "config": config,
        "seed": seed,
        "params": sampled,
        "evaluations": knobs.evaluations,
        "steps_per_epoch": tasks[0].total_steps // knobs.epochs,
        "rows": [len(task.validation) for task in tasks],
        "seconds": round(time.perf_counter() - started, 1),
        "folds": curves,
    }


def _points(events: Iterator[Any], count: int) -> Iterator[list[Any]]:
    """[step, at cycle end, accuracy, loss, bits] of each evaluation; a fold whose loss explodes repeats its last."""
    point: list[Any] | None = None
    found = 0
    try:
        for event in events:
            if isinstance(event, EvaluationRecord):
                point = [event.step, int(event.cycle_end), round(event.scores.accuracy, 5)]
                point += [round(event.eval_loss, 4), event.right]
                found += 1
                yield point
    except NonFiniteLossError:
        if point is None:
            raise
        for _ in range(count - found):
            yield point


if __name__ == "__main__":
    main()
