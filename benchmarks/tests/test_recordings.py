import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.recordings import CurveError, collapsed_configurations, read


def fold(values: list[float], steps: list[int] | None = None, bits: list[str] | None = None) -> list[list[Any]]:
    steps = steps or [10 * (i + 1) for i in range(len(values))]
    points = [[step, 0, value, 1.0] for step, value in zip(steps, values, strict=True)]
    return points if bits is None else [[*p, b] for p, b in zip(points, bits, strict=True)]


def write(path: Path, *folds: list[list[Any]], **more: Any) -> Path:
    line = {"config": 0, "seed": 1, "params": {}, "steps_per_epoch": 10, "folds": list(folds), **more}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return path


def test_a_cell_is_the_last_point_at_or_before_its_eighth(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", fold([0.1, 0.3, 0.2, 0.4], steps=[20, 30, 60, 80]))

    cells = read(path)[0].cells[0]

    assert [None if cell is None else cell.step for cell in cells] == [None, 20, 30, 30, 30, 60, 60, 80]


def test_best_so_far_never_falls_and_the_value_is_its_mean_over_folds(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", fold([0.5, 0.2], steps=[4, 8]), fold([0.1, 0.3], steps=[4, 8]))

    run = read(path)[0]

    assert run.best[0].tolist()[3:] == [0.5] * 5
    assert run.value == pytest.approx(0.4)
    assert run.cost(1, 3) == 8 + 4
    assert run.total_cost == 16


def test_a_fold_recorded_at_its_own_points_is_taken_as_it_is(tmp_path: Path) -> None:
    steps = [11, 20, 31, 40, 50, 60, 71, 80]
    path = write(tmp_path / "c.jsonl", fold([0.1] * 8, steps), evaluations=8)

    assert [cell.step for cell in read(path)[0].cells[0] if cell] == steps


def test_the_number_of_rows_is_worked_out_from_the_bits_and_the_accuracy(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", fold([0.3, 0.4], bits=["e000", "f000"]))

    last = read(path)[0].cells[0][-1]

    assert last is not None
    assert (last.rows, last.right) == (10, "f000")


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([], "no folds"),
        ([[]], "fold 0: no evaluations"),
        ([fold([0.1, float("nan")])], "evaluation 1: the accuracy is nan"),
        ([fold([0.1, 0.2], steps=[20, 10])], "step 10 after step 20"),
        ([[[1, 0]]], "expected [step, at_cycle_end, accuracy, loss, bits]"),
        ([fold([0.5], bits=["zz"])], "not hexadecimal"),
        ([fold([0.5], bits=["ffffff"])], "3 bytes of bits cannot stand for 48 rows"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(tmp_path: Path, folds: list[Any], message: str) -> None:
    path = write(tmp_path / "c.jsonl", *folds)

    with pytest.raises(CurveError) as error:
        read(path)

    assert message in str(error.value)
    assert f"{path}, line 1" in str(error.value)


def test_runs_that_differ_in_their_folds_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", fold([0.1]), fold([0.1]))
    write(path, fold([0.1]))

    with pytest.raises(CurveError, match=r"line 2: 1 folds, but 2 in the first run"):
        read(path)


@pytest.mark.parametrize("text", ["", "not json\n", '{"config": 1}\n'], ids=["empty", "text", "keys missing"])
def test_a_file_without_runs_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(CurveError, match=r"c\.jsonl"):
        read(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CurveError, match="cannot be read"):
        read(tmp_path / "none.jsonl")


@pytest.mark.parametrize("value", [None, [1], float("nan")])
def test_a_knob_that_is_no_value_is_refused(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "c.jsonl", fold([0.5]), params={"lr": value})

    with pytest.raises(CurveError, match=r"c\.jsonl, line 1: params\.lr is .*; expected a finite number or a text"):
        read(path)


def test_configurations_near_the_majority_class_have_collapsed(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    for config, value in enumerate([0.2, 0.22, 0.6, 0.5]):
        write(path, fold([0.2, value]), config=config)

    assert collapsed_configurations(read(path)) == {0, 1}
