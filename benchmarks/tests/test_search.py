"""Live searches: which test rows count, that what was done is read back, and that ways are paired by seed."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from benchmarks.retraining import accuracy
from benchmarks.search import Ended, compare, read
from tests.support.relations import relation_data


def test_rows_of_classes_that_no_fold_is_scored_on_do_not_count(tmp_path: Path) -> None:
    data = relation_data(tmp_path)
    plan = replace(data.plan(2, 77), pinned_labels=("member",))
    names = list(data.examples.labels.names)
    labels = ["parents", "parents", "member", "unknown"]
    answers = np.eye(len(names), dtype=np.float32)[
        [names.index(name) for name in ("parents", "children", "member", "member")]
    ]

    assert accuracy(data, plan, answers, labels) == 0.5


def test_what_was_done_is_read_back(tmp_path: Path) -> None:
    done = ended("foldrace", 1, (0.5, 0.6))
    (tmp_path / "searches.jsonl").write_text(json.dumps(asdict(done)) + "\n", encoding="utf-8")

    assert list(read(tmp_path / "searches.jsonl")) == [done]
    assert list(read(tmp_path / "none.jsonl")) == []


def test_ways_are_paired_by_seed() -> None:
    ours = [ended("foldrace", 1, (0.6, 0.7)), ended("foldrace", 2, (0.5, 0.5))]
    theirs = [ended("tpe_halving", seed, (score,)) for seed, score in ((3, 0.9), (2, 0.48), (1, 0.61))]

    assert list(compare(ours + theirs, ["foldrace", "tpe_halving"], [150, 400])) == [
        "150 fold-epochs: foldrace +3.00 +- 1.00 points against tpe_halving"
    ]


def ended(way: str, seed: int, accuracies: tuple[float, ...]) -> Ended:
    return Ended(way, seed, 150, 151.0, 0.5, 3, 0.7, accuracies)
