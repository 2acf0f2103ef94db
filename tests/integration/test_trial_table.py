"""The table of trials, and the list of runs, read from either database."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from foldrace.search.monitor.run_list import RunSummary, read_runs, read_studies, run_lines
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.monitor.trial_table import TrialRow, TrialTable, read_trial_table
from foldrace.search.session import open_session
from foldrace.search.study_store import FinalFold, open_study, public_toml, queue_folds
from foldrace.search.trials.claims import Trials, TrialsSettings
from foldrace.storage import optuna_rows
from foldrace.storage.database import Database
from foldrace.storage.errors import StorageError
from foldrace.storage.workers import Activity, WorkerIdentity, report_alive
from foldrace.studies.study import Study
from tests.support.claims import must_claim
from tests.support.records import record_at

MakeStudy = Callable[..., Study]


@pytest.fixture
def searched(database: Database, make_study: MakeStudy, trials_of: Callable[..., Trials]) -> Study:
    """Five trials: complete, pruned in its second fold, failed, running, and one that waits."""
    study = make_study(trials=5, baseline={"gamma": 0.5, "epochs": 9})
    open_study(database, study)
    claims = [must_claim(trials_of(study)) for _ in range(4)]
    claims[0].finish(0.7)
    for fold, value in enumerate((0.8, 0.75)):
        claims[1].report(fold, value, record_at(0, value))
    claims[1].prune("it lies behind trial 0")
    claims[2].fail("the training loss is nan")
    claims[3].report(0, 0.6, record_at(0, 0.6))
    return study


def test_the_table_has_each_trial_in_whatever_state(database: Database, searched: Study) -> None:
    rows = read_trial_table(database, searched.name).rows

    assert [(row.state, row.score, row.folds, row.reason) for row in rows] == [
        ("COMPLETE", 0.7, 0, ""),
        ("PRUNED", 0.75, 2, "it lies behind trial 0"),
        ("FAIL", None, 0, "the training loss is nan"),
        ("RUNNING", 0.6, 1, ""),
        ("WAITING", None, 0, ""),
    ]
    sampled = {trial.number: trial.params for trial in database.storage.get_all_trials(1)}
    assert {row.number: row.knobs for row in rows} == sampled
    assert len(rows[1].knobs) == 2
    assert rows[4].knobs == {}
    best = read_status(database, searched.name).best
    assert best is not None
    assert best.knobs == rows[0].knobs


def test_the_top_are_complete_trials_first_then_the_others_by_what_they_promise(
    database: Database, searched: Study
) -> None:
    assert [row.number for row in read_trial_table(database, searched.name).top(4).rows] == [0, 1, 3]


def test_the_csv_keeps_every_digit_and_the_lines_round(database: Database, searched: Study) -> None:
    table = read_trial_table(database, searched.name)
    read = list(csv.DictReader(io.StringIO(table.to_csv())))
    gamma, epochs = table.rows[1].knobs["gamma"], table.rows[1].knobs["epochs"]

    assert list(read[0]) == ["number", "state", "score", "folds", "epochs", "gamma", "reason"]
    assert (float(read[1]["gamma"]), read[1]["reason"]) == (gamma, "it lies behind trial 0")
    assert str(table).splitlines()[2].split(maxsplit=6) == [
        *("1", "PRUNED", "0.75", "2", str(epochs), f"{gamma:.4g}"),
        "it lies behind trial 0",
    ]


@pytest.mark.parametrize("reason", ["=1+1", "@SUM(1)", "-1+1"])
def test_the_csv_holds_no_formula(reason: str) -> None:
    row = TrialRow(0, "FAIL", -0.5, 1, {"=1": "+1+1"}, reason)
    header, cells = csv.reader(io.StringIO(TrialTable((row,)).to_csv()))
    assert header == ["number", "state", "score", "folds", "'=1", "reason"]
    assert cells == ["0", "FAIL", "-0.5", "1", "'+1+1", f"'{reason}"]


def test_a_final_job_has_its_folds_and_is_listed_with_its_study(
    database: Database, searched: Study, trials_of: Callable[..., Trials]
) -> None:
    study = searched.with_fixed({"gamma": 0.5, "epochs": 9})
    job = queue_folds(database, study, [FinalFold(0, 77), FinalFold(1, 77)])
    must_claim(trials_of(study, TrialsSettings(job))).finish(0.9)

    assert [row.knobs for row in read_trial_table(database, job).rows] == [
        {"seed": 77, "fold": 0},
        {"seed": 77, "fold": 1},
    ]
    assert [str(final) for final in read_status(database, searched.name).finals] == [
        "small/final-1: 1 of 2 folds done, mean 0.9000"
    ]
    assert read_status(database, job).finals == read_status(database, searched.name).finals


def test_runs_are_listed_and_a_broken_one_is_named_in_a_line(make_study: MakeStudy, tmp_path: Path) -> None:
    workspace = tmp_path / "runs"
    for name, storage in (("good", None), ("far", "postgresql+psycopg://nobody@127.0.0.1:1/nowhere")):
        study = make_study(name, storage=storage)
        folder = workspace / name
        folder.mkdir(parents=True)
        (folder / "study.toml").write_text(public_toml(study), encoding="utf-8")
    with open_session(make_study("good"), workspace) as session:
        open_study(session.database, session.study)
    with open_session(make_study("finals"), workspace) as session:
        queue_folds(session.database, session.study.with_fixed({"gamma": 0.5, "epochs": 9}), [FinalFold(0, 77)])
    (workspace / "finals/final-1").mkdir()
    (workspace / "finals/final-1/study.toml").write_text(public_toml(make_study("finals")), encoding="utf-8")
    (workspace / "torn").mkdir()
    (workspace / "torn/study.toml").write_text("name = ", encoding="utf-8")
    (workspace / "notes").mkdir()

    lines = run_lines(read_runs(workspace))

    header = "name state trials best final jobs workers last sign of life changed"
    assert lines[0].split() == header.split()
    assert [line.split() for line in lines[1:3]] == [
        ["finals", "no", "workers", "0/1", "1"],
        ["good", "no", "workers", "0/3"],
    ]
    assert lines[3].startswith("far: postgresql+psycopg://nobody@127.0.0.1:1/nowhere: ")
    assert lines[4].startswith(f"torn: {workspace}/torn/study.toml: not a TOML file")
    assert len(lines) == 5


def test_the_studies_of_a_database_are_listed_with_who_is_at_work(
    database: Database, storage_url: str, make_study: MakeStudy, tmp_path: Path
) -> None:
    for name in ("idle", "busy"):
        open_study(database, make_study(name))
    queue_folds(database, make_study("busy").with_fixed({"gamma": 0.5, "epochs": 9}), [FinalFold(0, 77)])
    database.transact(
        lambda c: report_alive(c, WorkerIdentity(), optuna_rows.find_study_id(c, "busy"), None, Activity())
    )
    database.storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "foreign")

    listed = {run.name: run for run in read_studies(storage_url, tmp_path)}

    assert {name: (run.state, run.workers, run.finals) for name, run in listed.items()} == {
        "busy": ("running", 1, 1),
        "idle": ("no workers", 0, 0),
        "foreign": ("unreadable", 0, 0),
    }
    assert listed["busy"].seen is not None
    assert "1" in next(line for line in run_lines(list(listed.values())) if line.startswith("busy")).split()
    assert "foreign" in listed["foreign"].error
    with pytest.raises(StorageError, match="no database of its own there yet"):
        read_studies("workspace", tmp_path)


def test_a_study_whose_name_a_terminal_would_obey_is_listed_as_text() -> None:
    lines = run_lines([RunSummary("a\x1b[2J\nb", "running"), RunSummary("c\rd", "unreadable", error="e\nf")])

    assert lines[1].startswith(r"a\x1b[2J\nb")
    assert lines[2] == r"c\rd: e\nf"
