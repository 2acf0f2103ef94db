"""A search with a conditional knob, from the study file to the final one: sampled, judged, shown and exported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

import foldrace
from foldrace.search.ensemble.export import exported_text, select_trial
from foldrace.search.monitor.trial_table import read_trial_table
from foldrace.search.recording.trajectory import load_trajectory
from foldrace.search.reports.search_report import search_report
from foldrace.search.session import Session, open_session
from foldrace.search.study_store import open_study
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import Trials
from foldrace.search.workers.entrypoint import WorkerOptions, run_worker
from foldrace.storage.database import Database
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import SHIPPED, load
from foldrace.studies.study import Study
from tests.support.claims import must_claim
from tests.support.records import record_at

MakeStudy = Callable[..., Study]
View = Callable[..., Trials]
TRIALS = 10
TRAINING = {
    "optimizer": {"choices": ["adamw", "sgd"]},
    "momentum": {"low": 0.5, "high": 0.99, "when": {"optimizer": "sgd"}},
}


@pytest.fixture
def study(make_study: MakeStudy, request: pytest.FixtureRequest) -> Study:
    plain = make_study(trials=TRIALS, sampler=request.param, finals=0).model_dump()
    return Study.model_validate({**plain, "training": TRAINING, "folds": {"count": 2}})


def report_whole(claim: Claim, study: Study) -> float:
    """End a trial: with sgd it is the better, the more momentum it has."""
    value = 0.5 if claim.sampled["optimizer"] == "adamw" else 0.4 + 0.2 * float(claim.sampled["momentum"])
    for fold in range(study.folds.count):
        for index in range(study.defaults.evaluations):
            claim.report(fold, value, record_at(index, value, step=index + 1, epoch=index + 1.0, lr=1e-3))
    claim.finish(value)
    return value


@pytest.mark.parametrize("storage_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("study", ["gp", "tpe"], indirect=True)
def test_a_knob_is_a_parameter_of_the_trials_whose_condition_is_met(
    study: Study, database: Database, trials_of: View, tmp_path: Path
) -> None:
    open_study(database, study)
    trials = trials_of(study)
    for _ in range(TRIALS):
        report_whole(must_claim(trials), study)

    ended = database.storage.get_all_trials(1)
    assert {trial.params["optimizer"] for trial in ended} == {"adamw", "sgd"}
    assert all(("momentum" in trial.params) == (trial.params["optimizer"] == "sgd") for trial in ended)
    adamw = [trial for trial in ended if trial.params["optimizer"] == "adamw"]
    assert len(adamw) == 1 or study.search.sampler == "tpe"  # the process proposes no configuration twice
    rows = {row.number: row.knobs for row in read_trial_table(database, study.name).rows}
    assert all(rows[trial.number] == trial.params for trial in ended)
    importances = load_trajectory(database, study).importances
    assert importances.keys() == {"optimizer", "momentum"}
    assert min(importances.values()) > 0
    page = search_report(Session(study, Workspace(tmp_path, study.name), database))
    assert "0.5 to 0.99, when optimizer is sgd" in page
    inactive = exported_text(study, select_trial(database, study, str(adamw[0].number)), tmp_path / "final.toml")
    assert "momentum = 0.9\n" in inactive
    assert 'optimizer = "adamw"' in inactive


@pytest.mark.parametrize("storage_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("study", ["gp"], indirect=True)
def test_queued_trials_are_completed_as_their_conditions_ask(study: Study, database: Database, trials_of: View) -> None:
    queued: list[dict[str, Any]] = [
        {"optimizer": "adamw"},
        {"optimizer": "sgd"},
        {"optimizer": "adamw", "momentum": 0.7},
    ]
    open_study(database, study.model_copy(update={"search": study.search.model_copy(update={"trials": 1})}))
    for params in queued:
        optuna.load_study(study_name=study.name, storage=database.storage).enqueue_trial(params)
    trials = trials_of(study)

    found = [must_claim(trials).sampled for _ in range(3)]

    assert found[1] == {"optimizer": "adamw"}
    assert found[2].keys() == {"optimizer", "momentum"}
    assert trials.claim() is None
    failed = database.storage.get_all_trials(1)[3]
    assert "momentum: is searched only when optimizer is sgd" in str(failed.user_attrs)


def test_a_conditional_search_is_trained_and_exported(tmp_path: Path) -> None:
    lines = (SHIPPED / "demo/train.tsv").read_text(encoding="utf-8").splitlines()[:60]
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    condition = 'training.momentum={low=0.5, high=0.99, when={optimizer="sgd"}}'
    small = [f"data.train={tmp_path}/train.tsv", "training.epochs=1", "folds.count=2", "search.trials=3"]
    study = load("demo", [*small, 'training.optimizer={choices=["adamw", "sgd"]}', condition, "search.baseline={}"])
    with open_session(study, tmp_path / "runs") as session:
        run_worker(session, WorkerOptions("cpu"), lambda: False)

    told = json.loads(foldrace.trials(study, workspace=tmp_path / "runs").to_json(orient="records"))
    exported = foldrace.export(study, workspace=tmp_path / "runs")

    assert all((row["momentum"] is not None) == (row["optimizer"] == "sgd") for row in told)
    final = load(exported.path)
    assert not final.searched
    assert final.hyperparameters({}).momentum == (exported.trial.sampled.get("momentum", 0.9))
