from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.curve_sources import DEMO, SOURCES
from benchmarks.record_curves import SEEDS, draw_configuration, open_source, record, recorded
from benchmarks.recordings import read
from foldrace.errors import FoldraceError
from foldrace.trainer.training_data import TrainingData


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    """The shortest demo sentences, two folds, one epoch."""
    fast = SOURCES["demo"].training | {"epochs": {"low": 1, "high": 1}, "lr": 1e-3}
    return open_source("demo", replace(SOURCES["demo"], longest=54, folds=2, training=fast), DEMO, "tiny", tmp_path)


def test_runs_are_recorded_whole_and_what_is_there_is_not_trained_again(data: TrainingData, tmp_path: Path) -> None:
    output = tmp_path / "demo.jsonl"

    record(data, output, configs=[0], seeds=SEEDS, seconds=600)
    first = output.read_text(encoding="utf-8")
    record(data, output, configs=[0], seeds=SEEDS, seconds=600)

    runs = read(output)
    assert output.read_text(encoding="utf-8") == first
    assert [(run.config, run.seed) for run in runs] == [(0, 77), (0, 1078)]
    last = runs[0].cells[1][-1]
    assert last is not None
    assert round(last.value * last.rows) == bin(int(last.right, 16)).count("1")


def test_a_configuration_is_a_pure_function_of_its_number(data: TrainingData) -> None:
    assert draw_configuration(data.study, 3) == draw_configuration(data.study, 3)
    assert draw_configuration(data.study, 3) != draw_configuration(data.study, 4)


def test_a_line_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "demo.jsonl"
    path.write_text('{"config": 0, "se', encoding="utf-8")

    with pytest.raises(FoldraceError, match="delete its last line"):
        recorded(path)
