"""What a knob of [training] gives on KLUE-RE with a pretrained encoder: folds with it and without, in pairs.

    python -m benchmarks.ablations --data train.csv --model FOLDER --output knobs.jsonl [--minutes 60]

Each round takes one fold with one seed, and trains it as it is (`base`) and with one change at a time: the same rows,
the same new weights, the same order. `average` is the moving average of the weights of `base`. One JSON line a fold;
what is in the file is not trained again. No text of the data is written.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t  # type: ignore[import-untyped]

from foldrace.errors import FoldraceError
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import parse
from foldrace.trainer.metrics import score
from foldrace.trainer.modeling.average import averaged_weights
from foldrace.trainer.training.loop import FoldTrainer, start_fold
from foldrace.trainer.training.prediction import predict
from foldrace.trainer.training_data import TrainingData, open_training_data

BASE = {
    "lr": 3e-4,
    "batch_size": 8,
    "epochs": 5,
    "warmup_ratio": 0.1,
    "entity_marking": "typed_markers",
}
AVERAGE = {"ema_decay": 0.99}  # it changes nothing of the training, so `base` and `average` are one training
CHANGES: dict[str, dict[str, Any]] = {
    "base": AVERAGE,
    "pooling": {"pooling": "entities"},
    "swap": {"swap_entities": 0.5},
    "replace": {"replace_entities": 0.2},
    "layer_decay": {"layer_lr_decay": 0.8},
}
FOLDS, SEEDS = 3, (77, 1078)
ROUNDS = [(seed, fold) for fold in range(FOLDS) for seed in SEEDS]
LEVEL, POWER = 0.05, 0.8  # of the smallest difference that would have been seen

Kept = dict[tuple[str, int, int], dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="train.csv of KLUE-RE")
    parser.add_argument("--model", required=True, help="a folder with an encoder, or its name on the hub")
    parser.add_argument("--output", type=Path, required=True, help="one JSON line a fold; goes on from what is there")
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES), help="these changes; base first")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no fold after so many")
    parser.add_argument("--workspace", type=Path, default=Path("runs/ablations"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        data = open_data(arguments.data, arguments.model, arguments.workspace)
        train(data, arguments.only, arguments.output, arguments.minutes * 60)
        show(read(arguments.output))
    except FoldraceError as error:
        sys.exit(str(error))


def open_data(file: Path, model: str, folder: Path) -> TrainingData:
    raw = {
        "name": "ablations",
        "data": {"train": str(file.absolute()), "exclude_labels": ["no_relation"]},
        "model": {"name": model, "max_length": 48},
        "folds": {"count": FOLDS, "oversample_minority": False},
        "training": BASE,
    }
    return open_training_data(parse(raw, "the benchmark"), Workspace(folder, "ablations"))


def train(data: TrainingData, changes: Sequence[str], output: Path, seconds: float) -> None:
    """Append the folds that `output` does not hold, round by round, until `seconds` are over."""
    started, kept = time.monotonic(), read(output)
    for seed, fold in ROUNDS:
        for change in changes:
            if time.monotonic() - started > seconds:
                return
            if (change, seed, fold) not in kept:
                lines = [json.dumps(line) + "\n" for line in run(data, change, seed, fold)]
                with output.open("a", encoding="utf-8") as file:
                    file.writelines(lines)


def read(output: Path) -> Kept:
    """The folds in the file, by change, seed and fold."""
    if not output.exists():
        return {}
    try:
        lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    except json.JSONDecodeError as error:
        raise FoldraceError(f"{output}: line cut short ({error}); delete its last line to go on") from None
    return {(line["change"], line["seed"], line["fold"]): line for line in lines}


def run(data: TrainingData, change: str, seed: int, fold: int) -> list[dict[str, Any]]:
    """One fold with one change, as the plain data of its line, and behind that of `base` the line of its average.

    Judged once, at its end: no fold has the luck of the best of several evaluations. Seconds are of the process's CPU.
    """
    knobs = data.study.hyperparameters({}).model_copy(update=CHANGES[change])
    task = data.task(knobs, data.plan(FOLDS, seed), fold, "cpu")
    started = time.process_time()
    trainer = start_fold(task)
    for _ in range(task.total_steps):
        trainer.train_step()
    state = trainer.state
    lines = [{"change": change, "seed": seed, "fold": fold, "accuracy": accuracy(trainer)}]
    if state.average:
        with averaged_weights(state.model, state.average):
            lines.append({**lines[0], "change": "average", "accuracy": accuracy(trainer)})
    measured = {"rows": len(task.validation), "seconds": round(time.process_time() - started, 1)}
    return [line | measured for line in lines]


def accuracy(trainer: FoldTrainer) -> float:
    """That of the weights which the model has, on the validation part."""
    task = trainer.task
    probabilities = predict(trainer.state.model, task.tokens, task.validation, task.pad_id, trainer.dtype)
    return score(probabilities, task.labels[task.validation], None).accuracy


def show(kept: Kept) -> None:
    """Each change against the base, in points of accuracy, over the rounds that have both."""
    print(
        f"{'change':12}{'pairs':>6}{'base':>8}{'changed':>9}{'difference':>12}{'s.e.':>7}{'seen from':>11}{'better':>8}"
    )
    for change in dict.fromkeys(name for name, *_ in kept):
        rounds = [key for key in ROUNDS if (change, *key) in kept and ("base", *key) in kept]
        if change == "base" or len(rounds) < 2:
            continue
        base, changed = ([100 * kept[name, *key]["accuracy"] for key in rounds] for name in ("base", change))
        gains = [one - other for one, other in zip(changed, base, strict=True)]
        error, freedom = statistics.stdev(gains) / math.sqrt(len(gains)), len(gains) - 1
        smallest = (t.ppf(1 - LEVEL / 2, freedom) + t.ppf(POWER, freedom)) * error
        means = [statistics.mean(values) for values in (base, changed, gains)]
        line = f"{change:12}{len(gains):6}{means[0]:8.1f}{means[1]:9.1f}{means[2]:+12.1f}{error:7.1f}{smallest:11.1f}"
        print(f"{line}{sum(gain > 0 for gain in gains):5} of {len(gains)}")


if __name__ == "__main__":
    main()
