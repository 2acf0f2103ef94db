"""What a command estimates of a search before it runs."""

import re
from pathlib import Path

import pytest

from foldrace.errors import FoldraceError
from foldrace.search.api.train import check
from foldrace.search.cli.options import parse_counts
from foldrace.search.launch.fold_counts import expected_epochs
from foldrace.search.launch.preflight import TimeEstimate, describe_estimate
from foldrace.search.session import open_session
from foldrace.search.workers.slots import Slot
from foldrace.storage.errors import StorageError
from foldrace.studies.loading import load
from foldrace.studies.settings import Range
from foldrace.studies.study import Study
from tests.support.earlier_studies import search

DROPOUT = {"low": 0.0, "high": 0.3}
MOMENTUM = {"momentum": {"low": 0.5, "high": 0.9, "when": {"optimizer": "sgd"}}}


@pytest.mark.parametrize(
    ("epochs", "mean"),
    [
        ("{low = 5, high = 40}", 22.5),
        ("{low = 5, high = 40, log = true}", 16.8),  # 35 / ln 8
        ("{low = 7, high = 7, log = true}", 7.0),
        ("{choices = [2, 4, 9]}", 5.0),
        ("6", 6.0),
        ("{low = 40, high = 60, when = {optimizer = 'sgd', loss = ['focal', 'kl_divergence']}}", 30.0),  # 20 + 1/3 * 30
    ],
)
def test_the_epochs_of_a_random_trial_are_estimated(epochs: str, mean: float) -> None:
    choices = ["optimizer={choices=['adamw','sgd']}", "loss={choices=['cross_entropy','focal','kl_divergence']}"]
    searched = [f"training.{setting}" for setting in (f"epochs={epochs}", *choices)]
    study = load("demo", [*searched, "search.baseline={}"])

    assert expected_epochs(study) == pytest.approx(mean, abs=0.05)


@pytest.mark.parametrize(
    ("rate", "hours", "said"),
    [
        (413.2, 0.01, "speed     413 rows/s (cpu, fp32): 36 s for one worker"),
        (None, None, "speed     not measured: a fold has too few steps to time"),
    ],
)
def test_an_estimate_is_said_in_a_fitting_unit_or_not_at_all(
    rate: float | None, hours: float | None, said: str
) -> None:
    study = load("demo", ["search.trials=1"])

    lines = describe_estimate(study, TimeEstimate(rate, "fp32", 6.0, hours), [Slot(0, "cpu", 1)])

    assert lines == ["budget    1 trial, 6 fold-epochs without pruning", said]


@pytest.mark.parametrize(
    ("budgets", "hours", "ends", "time"),
    [
        (["fold_epochs=40"], 6.0, "; it ends after 40 fold-epochs at the latest", "2.0 h for one worker, 60 min for"),
        (["fold_epochs=130"], 6.0, "", "6.0 h for one worker, 3.0 h for"),
        (["gpu_hours=1"], 6.0, "; it ends after 1 GPU hours at the latest", "60 min for one worker, 30 min for"),
        (["gpu_hours=7"], 6.0, "", "6.0 h for one worker"),
        (["fold_epochs=40", "gpu_hours=1"], 6.0, "; it ends after 40 fold-epochs or 1 GPU hours", "60 min for one"),
        (["fold_epochs=40", "gpu_hours=3"], 6.0, "; it ends after 40 fold-epochs at the latest", "2.0 h for one"),
        (["fold_epochs=40", "gpu_hours=3"], None, "; it ends after 40 fold-epochs or 3 GPU hours", "not measured"),
    ],
)
def test_an_estimate_knows_the_budgets_that_end_the_search_first(
    budgets: list[str], hours: float | None, ends: str, time: str
) -> None:
    study = load("demo", [f"search.{budget}" for budget in budgets])
    estimate = TimeEstimate(None if hours is None else 400.0, "fp32", 120.0, hours)

    budget, speed = describe_estimate(study, estimate, [Slot(0, "cpu", 1), Slot(1, "cpu", 1)])

    assert budget.partition("without pruning")[2].startswith(ends)
    assert bool(budget.partition("without pruning")[2]) == bool(ends)
    assert time in speed


@pytest.mark.parametrize("workspace", ["file", "file/runs", "/proc/runs"])
def test_a_workspace_that_cannot_be_written_is_said_before_the_data_is_read(tmp_path: Path, workspace: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "train.tsv").write_text("not a table")
    study = load("demo", [f"data.train={tmp_path / 'train.tsv'}"])

    with pytest.raises(StorageError, match=rf"^{tmp_path / workspace}.*: cannot be written: "):
        check(study, devices="cpu", workspace=tmp_path / workspace)


def test_numbers_of_folds_are_compared_by_what_they_cost_and_leave_out(tmp_path: Path) -> None:
    labels = ["a"] * 20 + ["b"] * 6 + ["c"] * 3
    rows = [f"{i},words {i},{label}" for i, label in enumerate(labels)]
    (tmp_path / "train.csv").write_text("\n".join(["id,text,label", *rows]) + "\n", encoding="utf-8")
    sections = {
        "folds": {"count": 3, "oversample_minority": False},
        "training": {"epochs": 2, "dropout": DROPOUT, **MOMENTUM},
    }
    study = Study.model_validate({"name": "s", "data": {"train": tmp_path / "train.csv"}, **sections})

    asked = check(study, devices="cpu", workspace=tmp_path / "runs")
    assert "never     momentum: is searched only when optimizer is sgd" in asked.description  # which is adamw
    found = asked.compare_folds([3, 5, 8, 40])

    three, five, eight, forty = found.choices
    assert (three.rows, three.times, three.smallest) == (116, 1.0, ("c", 1))
    assert (five.fold_epochs, five.rows) == (10, 238)
    assert five.times == pytest.approx(238 / 116)
    assert [(choice.unscored_labels, choice.unscored_rows) for choice in (three, five, eight)] == [
        ((), 0),
        (("c",), 3),
        (("b", "c"), 9),
    ]
    header, first, *_, last = str(found).splitlines()
    assert header.split("  ")[0] == "folds"
    assert first.split() == ["3", "6", "116", "1.00", "0", "labels,", "0", "rows", "c,", "1", "row"]
    assert "40 folds of 29 groups of sentences: ask for at least 2 folds" in last
    assert "40 folds" in forty.error
    assert [path.name for path in asked.data.folder.glob("folds-*")] == ["folds-3-seed-77.json"]  # its own


def test_a_check_leaves_nothing_where_there_is_no_run(tmp_path: Path) -> None:
    found = check(load("demo"), devices="cpu", workspace=tmp_path / "runs")
    folder = found.data.folder
    assert found.description
    assert folder.is_dir()

    del found

    assert not folder.parents[1].exists()
    assert list(tmp_path.iterdir()) == []


def test_a_check_says_what_each_prior_would_give(tmp_path: Path) -> None:
    with open_session(load("demo", name="old"), tmp_path) as session:
        search(session, 3, lambda sampled: 0.7 + 0.1 * float(sampled["dropout"]))

    def told(*overrides: str) -> list[str]:
        found = check(load("demo", overrides), devices="cpu", workspace=tmp_path)
        return [line for line in found.description if line.startswith("prior")]

    assert told() == []
    assert told('search.prior=["old"]') == ["prior     old: 3 trials taken over"]
    assert told('search.prior=["old"]', "search.metric=macro_f1")[0].startswith(
        "prior     old: not used: its metric is "
    )
    with pytest.raises(FoldraceError, match=r"^search\.prior: nobody: no run of that name in "):
        told('search.prior=["nobody"]')
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_check_of_a_run_takes_its_tokenizer_and_its_folds(tmp_path: Path) -> None:
    run = tmp_path / "demo"
    run.mkdir()
    (run / "study.toml").touch()

    found = check(load("demo"), devices="cpu", workspace=tmp_path)

    assert found.description
    assert list(run.glob("data-*/folds-*"))
    assert found.data.folder.parent == run


def test_labels_that_are_left_out_are_said_with_their_rows(tmp_path: Path) -> None:
    rows = [f"{i},words {i},{label}" for i, label in enumerate(["a"] * 10 + ["b"] * 6 + ["c"] * 4)]
    (tmp_path / "train.csv").write_text("\n".join(["id,text,label", *rows]) + "\n", encoding="utf-8")
    data = {"train": tmp_path / "train.csv", "exclude_labels": ["c"]}
    study = Study.model_validate({"name": "s", "data": data, "folds": {"count": 2}})

    first, second, *_ = check(study, devices="cpu", workspace=tmp_path / "runs").description

    assert first.startswith("data      16 texts, 2 labels: ")
    assert second == "          excluded c: 20.0% of the training rows (4)"


@pytest.mark.parametrize(
    ("folds", "said"),
    [({"count": 2}, 3), ({"count": 2, "leaky_oversampling": True}, 3), ({"oversample_minority": False}, 0)],
)
def test_rows_of_rare_labels_are_counted_where_some_are_repeated(
    tmp_path: Path, folds: dict[str, object], said: int
) -> None:
    rows = [f"{i},words {i},{label}" for i, label in enumerate(["a"] * 10 + ["b"] * 6 + ["c"] * 3)]
    (tmp_path / "train.csv").write_text("\n".join(["id,text,label", *rows]) + "\n", encoding="utf-8")
    study = Study.model_validate(
        {"name": "s", "data": {"train": tmp_path / "train.csv"}, "folds": {"count": 2, **folds}}
    )
    searched = study.model_copy(update={"training": {"dropout": Range(low=0.0, high=0.3)}})

    (line,) = [
        line
        for line in check(searched, devices="cpu", workspace=tmp_path / "runs").description
        if line.startswith("folds ")
    ]

    assert line.endswith(f" ({said} rows of rare labels repeated in training)" if said else ", validation 9-10")


@pytest.mark.parametrize("text", ["5,x", "1", "5,101", "", "5;8", "1e1"])
def test_numbers_of_folds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(
        FoldraceError, match=rf"^--folds {re.escape(text)}: expected numbers from 2 to 100, as in 5,8,10$"
    ):
        parse_counts(text)
    assert parse_counts("5, 8,5") == [5, 8]
