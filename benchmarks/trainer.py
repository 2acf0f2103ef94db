"""A whole fold, ours and transformers.Trainer's, in turns: seconds, rows per second, last accuracy.

    python -m benchmarks.trainer [--device cpu|cuda] [--quick] [--json] [--keep FILE] [--profile]

The data is ../shared/data/klue_re without no_relation when it is there, else the demo's. `--keep` appends each timed
fold to a file and does not time again what is in it, so a run can be interrupted. The last line is one JSON object
with `--json`. Speedups are medians over rounds of the ratio within a round.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import profile
from transformers import ElectraConfig, ElectraForSequenceClassification, logging

from benchmarks.rivals import Run, Style, ours, retrospective, steps_in_turns, tuned
from foldrace.storage.workspace import Workspace
from foldrace.studies.knobs import Hyperparameters
from foldrace.studies.loading import parse
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.tasks import FoldTask
from foldrace.trainer.training_data import TrainingData, open_training_data

ROOT = Path(__file__).resolve().parent.parent
KLUE_RE, DEMO = ROOT.parent / "shared/data/klue_re/train.csv", ROOT / "studies/demo/train.tsv"
ROUNDS = 5
FOLDS = ("ours", "retrospective", "tuned")
BASE_WIDTH = 768
TRAINING = {"entity_marking": "typed_markers", "label_smoothing": 0.1, "warmup_ratio": 0.1}


@dataclass(frozen=True)
class Case:
    """A model and the fold it is timed on: one row in `share`; `every`: steps between evaluations as in 2021.

    `layers`: of a model of base width; 0: the model of the data's study.
    """

    name: str
    batch_size: int
    lr: float
    epochs: int
    share: int
    every: int
    layers: int = 0


@dataclass(frozen=True)
class Bench:
    """A case on a device; `folder` is for the files of its model."""

    data: TrainingData
    case: Case
    folder: Path
    device: str

    def task(self, seed: int, epochs: int | None = None) -> FoldTask:
        """The first fold of five; `seed` draws the weights, the order and the dropout."""
        case, data = self.case, self.data
        knobs = Hyperparameters(**TRAINING, epochs=epochs or case.epochs, batch_size=case.batch_size, lr=case.lr)
        task = data.task(knobs, data.plan(5, 77), 0, self.device)
        source = replace(task.source, name=self._base_width()) if case.layers else task.source
        training, validation = task.training[:: case.share], task.validation[:: case.share]
        return replace(task, seed=seed, source=source, training=training, validation=validation)

    def _base_width(self) -> str:
        path = self.folder / f"base-width-{self.case.layers}"
        if not path.exists():
            config = ElectraConfig(
                vocab_size=self.data.source.vocabulary,
                embedding_size=BASE_WIDTH,
                hidden_size=BASE_WIDTH,
                num_hidden_layers=self.case.layers,
                num_attention_heads=12,
                intermediate_size=4 * BASE_WIDTH,
                num_labels=self.data.source.classes,
            )
            torch.manual_seed(0)
            ElectraForSequenceClassification(config).save_pretrained(path)
        return str(path)


# A fold of base width is a small one, or an hour would go by: a twentieth of the rows, a quarter of the batch; every 5
# of its 7 steps an epoch is about as often as every 25 of 32.
CASES = {
    "cpu": (Case("tiny", 32, 1e-3, 8, 1, 25), Case("base_width", 8, 1e-4, 8, 20, 5, layers=2)),
    "cuda": (Case("tiny", 32, 1e-3, 8, 1, 25), Case("base", 32, 1e-4, 4, 1, 25, layers=12)),
}
# What `tuned` chooses from, by an epoch of each.
STYLES = {
    "cpu": (Style(bf16=True), Style(bf16=False)),
    "cuda": (Style(bf16=True), Style(bf16=True, loaders=2), Style(bf16=False)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true", help="one round of one epoch, for a look")
    parser.add_argument("--json", action="store_true", help="the result as the last line")
    parser.add_argument("--keep", type=Path, help="append each timed fold here, and go on from what is there")
    parser.add_argument("--profile", action="store_true", help="only show where the steps of our fold spend their time")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    cases, rounds = list(CASES[arguments.device]), ROUNDS
    if arguments.quick:
        cases, rounds = [replace(case, epochs=1) for case in cases], 1
    with tempfile.TemporaryDirectory() as folder:
        data = open_benchmark_data(Path(folder))
        benches = [Bench(data, case, Path(folder), arguments.device) for case in cases]
        if arguments.profile:
            for bench in benches:
                show_profile(bench.task(seed=0, epochs=1))
            return
        results = {bench.case.name: measure(bench, rounds, arguments.keep) for bench in benches}
    show(results)
    if arguments.json:
        print(json.dumps(results))


def open_benchmark_data(folder: Path) -> TrainingData:
    data, excluded = (KLUE_RE, ["no_relation"]) if KLUE_RE.exists() else (DEMO, [])
    raw = {
        "name": "bench",
        "data": {"train": str(data), "exclude_labels": excluded},
        "model": {"name": "tiny", "max_length": 128},
        "folds": {"count": 5, "oversample_minority": False},
        "training": TRAINING,
    }
    return open_training_data(parse(raw, "the benchmark"), Workspace(folder, "bench"))


def measure(bench: Bench, rounds: int, keep: Path | None = None) -> dict[str, Any]:
    """Time all contenders in each round, every other round in reverse, and set them side by side."""
    case, tokenizer = bench.case, bench.data.tokenizer
    short = bench.task(seed=0, epochs=1)
    style = min(STYLES[bench.device], key=lambda style: tuned(short, tokenizer, style).seconds)
    contenders: dict[str, Callable[[FoldTask], Run]] = {
        "ours": ours,
        "retrospective": lambda task: retrospective(task, tokenizer, case.every),
        "tuned": lambda task: tuned(task, tokenizer, style),
    }
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for number in range(rounds):
        task = bench.task(seed=100 + number)
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            found = _kept(keep, [case.name, case.epochs, number, name], partial(contenders[name], task))
            runs[name].append(found)
    loop = [ratio for seed in range(rounds) for ratio in steps_in_turns(replace(short, seed=seed))]
    return summary(runs, loop, case.epochs * len(short.training), str(style))


def _kept(path: Path | None, key: list[Any], run: Callable[[], Run]) -> Run:
    """What the file says of `key`, or else what `run` gives, which is then added to the file."""
    if path is not None and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            piece = json.loads(line)
            if piece["key"] == key:
                return Run(**piece["run"])
    found = run()
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "run": asdict(found)}) + "\n")
    return found


def summary(runs: dict[str, list[Run]], loop: list[float], rows: int, style: str) -> dict[str, Any]:
    """Speedups with their lowest and highest round, seconds, rows per second, and the last accuracy with its noise."""
    seconds = {name: [run.seconds for run in found] for name, found in runs.items()}
    evaluations = runs["ours"][0].evaluations
    seconds["same_evaluations"] = [  # the same folds, with the evaluations that they would not have had taken off
        run.seconds - run.evaluating * (1 - evaluations / run.evaluations) for run in runs["retrospective"]
    ]
    ratios = {
        "fold_speedup_vs_retrospective": _ratios(seconds["retrospective"], seconds["ours"]),
        "fold_speedup_same_evaluations": _ratios(seconds["same_evaluations"], seconds["ours"]),
        "fold_speedup_vs_tuned": _ratios(seconds["tuned"], seconds["ours"]),
    }
    accuracies = {name: [run.accuracy for run in runs[name]] for name in FOLDS}
    return {
        **{name: round(statistics.median(found), 3) for name, found in ratios.items()},
        "step_over_bare_step": round(statistics.median(loop), 3),
        "spread": {name: [round(min(found), 3), round(max(found), 3)] for name, found in ratios.items()},
        "step_quartiles": [round(quartile, 3) for quartile in statistics.quantiles(loop)[::2]],
        "seconds": {name: round(statistics.median(found), 2) for name, found in seconds.items()},
        "rows_per_second": {name: round(rows / statistics.median(found)) for name, found in seconds.items()},
        "accuracy": {name: round(statistics.mean(found), 4) for name, found in accuracies.items()},
        "accuracy_noise": {
            name: round(statistics.stdev(found), 4) if len(found) > 1 else None for name, found in accuracies.items()
        },
        "evaluations": {name: runs[name][0].evaluations for name in FOLDS},
        "tuned_style": style,
        "rounds": len(runs["ours"]),
    }


def _ratios(theirs: list[float], ours: list[float]) -> list[float]:
    return [their / our for their, our in zip(theirs, ours, strict=True)]


def show(results: dict[str, dict[str, Any]]) -> None:
    print(f"{'model':12}{'fold':22}{'seconds':>9}{'rows/s':>8}{'evaluations':>13}{'last accuracy':>20}")
    for model, found in results.items():
        for name, seconds in found["seconds"].items():
            line = f"{model:12}{name:22}{seconds:9.2f}{found['rows_per_second'][name]:8}"
            if name in FOLDS:
                noise = found["accuracy_noise"][name]
                accuracy = f"{found['accuracy'][name]:.4f}" + ("" if noise is None else f" ± {noise:.4f}")
                line += f"{found['evaluations'][name]:13}{accuracy:>20}"
            print(line)
    for model, found in results.items():
        for name, (low, high) in found["spread"].items():
            print(f"{model:12}{name:32}{found[name]:7.2f}   ({low:.2f} to {high:.2f} in {found['rounds']} rounds)")
        low, high = found["step_quartiles"]
        ratio = found["step_over_bare_step"]
        print(f"{model:12}{'step_over_bare_step':32}{ratio:7.2f}   (quartiles {low:.2f} and {high:.2f})")
        print(f"{model:12}{'style of tuned':32}{found['tuned_style']}")


def show_profile(task: FoldTask) -> None:
    with profile() as profiler:
        for _ in train_fold(task):
            pass
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=16, max_name_column_width=40))


if __name__ == "__main__":
    main()
