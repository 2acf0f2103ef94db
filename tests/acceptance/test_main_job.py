"""The main job, end to end, as a user runs it: search with two workers, export, final, predict."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from foldrace.search.cli.train import final
from foldrace.search.launch import supervision
from foldrace.search.workers.process import GIVEN_UP
from foldrace.studies.loading import SHIPPED, load
from tests.support.commands import Finished, foldrace_in


def read(path: Path, delimiter: str = ",") -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_a_search_finishes_its_budget_and_names_its_best_trial(finished: Finished) -> None:
    lines = finished.run.splitlines()

    assert any("3 of 3 trials done" in line for line in lines)
    assert any(line.startswith("best") and "accuracy 0." in line for line in lines)


def test_status_tells_the_same_as_json(finished: Finished) -> None:
    told = json.loads(foldrace_in(finished.folder, "status", "demo", "--json").stdout)

    assert sum(told["trials"].values()) == 3
    assert 0 < told["best"]["value"] < 1
    assert told["fold_epochs"]["spent"] > 0


def test_the_exported_file_is_a_study_with_every_knob_fixed(finished: Finished) -> None:
    exported = load(finished.workspace / "final.toml")

    assert not exported.searched
    assert exported.training["epochs"] in (1, 2)


def test_the_submission_has_a_known_code_for_every_test_row(finished: Finished) -> None:
    codes = {str(code) for code in json.loads((SHIPPED / "demo/label_type.json").read_text(encoding="utf-8")).values()}

    header, *rows = read(finished.workspace / "submissions/3fold_tiny1/3fold_tiny1.csv")

    assert header == ["pred"]
    assert len(rows) == len(read(SHIPPED / "demo/test.tsv", "\t"))
    assert all(row[0] in codes for row in rows)


def test_the_submission_is_the_argmax_of_the_stored_test_probabilities(finished: Finished) -> None:
    codes = json.loads((finished.workspace / "final-1/labels.json").read_text(encoding="utf-8"))
    header, *rows = read(finished.workspace / "final-1/test_probabilities.csv")
    voted = [codes[header[1 + max(range(len(row) - 1), key=lambda i: float(row[1 + i]))]] for row in rows]

    submitted = read(finished.workspace / "submissions/3fold_tiny1/3fold_tiny1.csv")[1:]

    assert [int(row[0]) for row in submitted] == voted
    assert [row[0] for row in rows] == [row[0] for row in read(SHIPPED / "demo/test.tsv", "\t")]


def test_out_of_fold_rows_are_each_scored_once_and_give_the_accuracy_told(finished: Finished) -> None:
    summary = json.loads((finished.workspace / "final-1/ensemble.json").read_text(encoding="utf-8"))
    rows = read(finished.workspace / "final-1/oof.csv")[1:]

    assert len({row[0] for row in rows}) == len(rows)
    assert sum(row[3] == row[4] for row in rows) / len(rows) == pytest.approx(summary["accuracy"])
    assert f"{summary['accuracy']:.4f}" in finished.final
    assert "each model is the best of its evaluations on these very rows" in finished.final


def test_final_again_trains_nothing_and_hands_in_the_same_file(finished: Finished) -> None:
    said = [log.read_text(encoding="utf-8") for log in finished.workspace.glob("final-1/logs/*")]

    again = foldrace_in(finished.folder, "final", "runs/demo/final.toml", "--workers", "2", "--set", "final.folds=3")

    assert again.returncode == 0, again.stderr
    assert said == [log.read_text(encoding="utf-8") for log in finished.workspace.glob("final-1/logs/*")]  # no worker
    assert [path.name for path in (finished.workspace / "submissions").iterdir()] == ["3fold_tiny1"]
    assert again.stdout.splitlines()[-1] == finished.final.splitlines()[-1]


def test_predict_gives_the_rows_of_the_submission_again(finished: Finished) -> None:
    told = foldrace_in(finished.folder, "predict", "demo", str(SHIPPED / "demo/test.tsv"))

    assert told.returncode == 0, told.stderr
    predicted = read(finished.workspace / "final-1/predictions-test.csv")
    assert predicted == read(finished.workspace / "submissions/3fold_tiny1/3fold_tiny1.csv")


def test_the_accuracy_of_rows_that_it_was_trained_on_is_told_as_such(finished: Finished, tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "demo/train.tsv", tmp_path / "again.tsv")

    told = foldrace_in(finished.folder, "predict", "demo", str(tmp_path / "again.tsv"))

    assert told.returncode == 0, told.stderr
    assert re.search(r"; accuracy 0\.\d{4} on rows that it was trained on;", told.stdout)


def test_a_finished_search_goes_on_when_its_budget_is_raised(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")

    told = foldrace_in(tmp_path, "run", "runs/demo/study.toml", "--trials", "4", "--workers", "1")

    assert told.returncode == 0, told.stdout + told.stderr
    assert "4 of 4 trials done" in told.stdout


def test_a_budget_is_never_taken_back(finished: Finished) -> None:
    told = foldrace_in(finished.folder, "run", "runs/demo/study.toml", "--trials", "2", "--workers", "1")

    assert told.returncode == 0, told.stdout + told.stderr
    assert "3 trials were asked for before; search.trials = 2 takes none back" in told.stdout
    assert "3 of 3 trials done" in told.stdout


def test_every_trial_is_recorded_and_the_search_reported(finished: Finished) -> None:
    logs = "".join(path.read_text(encoding="utf-8") for path in finished.workspace.glob("**/logs/worker-*.log"))
    assert "not everything is recorded" not in logs
    assert "model shards" not in logs  # a progress bar of transformers, when a final job saves its models

    told = foldrace_in(finished.folder, "report", "demo", "--output", str(finished.folder / "report.html"))

    assert told.returncode == 0, told.stderr
    assert "<img" in (finished.folder / "report.html").read_text(encoding="utf-8")


def test_an_ensemble_killed_before_its_summary_hands_in_the_same_file_again(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    (tmp_path / "runs/demo/final-1/ensemble.json").unlink()
    submissions = tmp_path / "runs/demo/submissions"
    (submissions / ".partial-x1").mkdir()  # of an ensemble that was killed
    (submissions / ".partial-x1/3fold_tiny2.csv").write_text("id,")
    (submissions / "empty").mkdir()
    (submissions / "mine").mkdir()
    (submissions / "mine/handed_in.csv").write_text("kept\n")
    (submissions / "notes.txt").write_text("kept\n")

    told = foldrace_in(tmp_path, "final", "runs/demo/final.toml", "--workers", "2", "--set", "final.folds=3")

    assert told.returncode == 0, told.stderr
    assert sorted(path.name for path in submissions.iterdir()) == ["3fold_tiny1", "empty", "mine", "notes.txt"]
    assert (submissions / "mine/handed_in.csv").read_text() == "kept\n"


def test_a_worker_that_was_given_up_keeps_no_whole_ensemble_back(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    monkeypatch.setattr(supervision, "run_workers", lambda *_: GIVEN_UP)

    final(str(tmp_path / "runs/demo/final.toml"), ["final.folds=3"], devices="cpu", workspace=tmp_path / "runs")

    assert capsys.readouterr().out.splitlines()[-1].startswith("submit ")


def test_folds_whose_files_are_gone_are_refused_by_predict_and_trained_again_by_final(
    finished: Finished, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    folds = tmp_path / "runs/demo/final-1/seed-77"
    shutil.rmtree(folds / "fold-0")
    shutil.rmtree(folds / "fold-1/model")
    kept = (folds / "fold-2/result.safetensors").stat().st_mtime_ns

    refused = foldrace_in(tmp_path, "predict", "runs/demo/final-1", str(SHIPPED / "demo/test.tsv"))
    told = foldrace_in(tmp_path, "final", "runs/demo/final.toml", "--workers", "2", "--set", "final.folds=3")

    assert refused.returncode == 2
    assert "fold-0/model: missing" in refused.stderr
    assert told.returncode == 0, told.stdout + told.stderr
    assert [path.name for path in (tmp_path / "runs/demo/submissions").iterdir()] == ["3fold_tiny1"]  # the same bytes
    assert all((folds / f"fold-{fold}/model").is_dir() for fold in range(3))
    assert (folds / "fold-2/result.safetensors").stat().st_mtime_ns == kept
