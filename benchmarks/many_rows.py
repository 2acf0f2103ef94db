"""What a large table costs before the first batch: seconds of the process's CPU, and its peak memory so far.

    python -m benchmarks.many_rows [--rows 200000]

The table is drawn: sentences of 5 to 20 words out of 50,000, the common ones often as in a real language, seven labels.
"""

import argparse
import csv
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import torch

from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import parse
from foldrace.studies.study import Study
from foldrace.trainer.data.batching import assemble, epoch_batches
from foldrace.trainer.training.loop import start_fold
from foldrace.trainer.training_data import open_training_data

WORDS, LABELS, MAX_LENGTH = 50_000, 7, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args().rows
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "train.csv")
        write_rows(file, rows)
        measure(study_of(file), Path(folder, "runs"))


def write_rows(file: Path, rows: int) -> None:
    rng = random.Random(1)
    syllables = [chr(code) for code in range(ord("가"), ord("힣") + 1, 13)]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(WORDS)]
    weights = list(accumulate(1 / rank for rank in range(1, WORDS + 1)))
    with file.open("w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(["id", "text", "label"])
        for i in range(rows):
            text = " ".join(rng.choices(words, cum_weights=weights, k=rng.randint(5, 20)))
            table.writerow([i, text, f"label {rng.randrange(LABELS)}"])


def study_of(file: Path) -> Study:
    raw = {
        "name": "many-rows",
        "data": {"train": str(file)},
        "model": {"name": "tiny", "max_length": MAX_LENGTH},
        "training": {"lr": 1e-3},
    }
    return parse(raw, "the benchmark")


def measure(study: Study, runs: Path) -> None:
    """Print what each step takes, in the order in which `check` and then a worker take them."""
    workspace, knobs = Workspace(runs, study.name), study.hyperparameters({})
    with timed("imports, before this"):
        pass
    with timed("read, a vocabulary of its own"):
        open_training_data(study, workspace)
    with timed("read again, as a worker does"):
        data = open_training_data(study, workspace)
    with timed("tokens"):
        tokens = data.encoded(knobs.entity_marking)
    with timed("share of unknown tokens"):
        data.refuse_unknown()
    with timed("folds"):
        plan = data.plan(study.folds.count, study.folds.seed)
    with timed("a fold, with its model"):
        trainer = start_fold(data.task(knobs, plan, 0, "cpu"))
    task = trainer.task
    with timed("its first batch"):
        part = task.part(0)
        batches = epoch_batches(part.lengths, knobs.batch_size, task.seed, 0)
        assemble(part.tokens, part.rows[batches[0]], task.pad_id, torch.device("cpu"))
    print(f"{len(tokens.lengths):,} rows, {len(tokens.ids):,} tokens, {len(batches):,} batches an epoch")


@contextmanager
def timed(step: str) -> Iterator[None]:
    started = time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{step:32}{time.process_time() - started:8.2f} s{peak:8.2f} GB", flush=True)


if __name__ == "__main__":
    main()
