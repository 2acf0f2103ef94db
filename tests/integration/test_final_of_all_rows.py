"""A final job without validation: models of all rows, trained in this process, that claim no score anywhere."""

import json
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna_dashboard import get_note

import foldrace
from foldrace.search.ensemble.comparison import ComparableJob, find_comparable
from foldrace.search.ensemble.job import FinalJob, queue_final_job
from foldrace.search.ensemble.outcome import open_outcome
from foldrace.search.ensemble.result import UNSCORED, FinalResult, make_ensemble
from foldrace.search.launch.final import begin_final, result_lines
from foldrace.search.launch.preflight import describe_study
from foldrace.search.launch.rescore import rescored_study
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.monitor.trial_table import read_trial_table
from foldrace.search.recording.final_recorder import record_final
from foldrace.search.reports.final_report import final_report
from foldrace.search.session import Session, open_session
from foldrace.search.study_store import public_toml
from foldrace.search.workers.entrypoint import WorkerOptions, run_worker
from foldrace.storage.files.atomic import atomic_write
from foldrace.studies.loading import SHIPPED, load
from foldrace.studies.study import Study
from foldrace.trainer.metrics import Scores
from foldrace.trainer.training_data import open_training_data
from tests.support.final_jobs import leave_results

ROWS = 120


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """The demo with every knob fixed, on few rows; two seeds vote."""
    lines = (SHIPPED / "demo/train.tsv").read_text(encoding="utf-8").splitlines()[:ROWS]
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = f"data.train={tmp_path}/train.tsv"
    of_all = ("final.validation=false", "final.seeds=[77, 78]", "final.folds=3")
    demo = load("demo", [rows, "training.epochs=1", *of_all])
    return demo.with_fixed(demo.search.baseline[0])


@pytest.fixture
def session(study: Study, tmp_path: Path) -> Iterator[Session]:
    with open_session(study, tmp_path / "runs") as opened:
        yield opened


def train(session: Session) -> tuple[FinalJob, FinalResult]:
    """Train the final job of the session's study, as `foldrace final` does with its workers."""
    job = begin_final(session)
    of_job = Session(job.study, session.workspace, session.database)
    atomic_write(job.folder / "study.toml", public_toml(job.study))
    run_worker(of_job, WorkerOptions("cpu", job=f"final-{job.number}"), lambda: False)
    data = open_training_data(job.study, job.workspace)
    result = make_ensemble(job, data)
    record_final(session, job, data, result)
    return job, result


def leave_scored_job(session: Session) -> FinalResult:
    """The same settings in three folds, as an earlier final job."""
    final = session.study.final.model_copy(update={"validation": True, "seeds": (77,)})
    job = queue_final_job(session.study.model_copy(update={"final": final}), session.database, session.workspace)
    data = open_training_data(job.study, job.workspace)
    leave_results(job, data)
    return make_ensemble(job, data)


def test_models_of_all_rows_vote_and_claim_no_score_anywhere(session: Session) -> None:
    earlier = leave_scored_job(session)

    job, result = train(session)

    assert (job.number, result.models, result.score, result.submission.stem) == (2, 2, None, "2seed_tiny1")
    assert earlier.score is not None
    beside = f"demo/final-1, the same settings in 3 folds: out-of-fold accuracy {earlier.score.accuracy:.4f}"
    assert str(result.comparable).startswith(beside)
    told = result_lines(job, open_training_data(job.study, job.workspace), result, has_chosen=False)
    assert f"score     {UNSCORED}" in told
    assert any(line.startswith(f"beside    {beside}") for line in told)
    summary = json.loads((job.folder / "ensemble.json").read_text(encoding="utf-8"))
    assert summary["unscored"] == UNSCORED
    assert not {"accuracy", "interval", "folds", "mean"} & summary.keys()
    assert not (job.folder / "oof.csv").exists()
    answers = foldrace.predict(job.folder, SHIPPED / "demo/test.tsv")
    handed_in = result.submission.read_text(encoding="utf-8").split()[1:]
    codes = json.loads((job.folder / "labels.json").read_text(encoding="utf-8"))
    assert [str(codes[label]) for label in answers["label"]] == handed_in

    status = read_status(session.database, job.name)
    assert status.best is None
    assert "2 of 2 models done: 2 complete" in str(status)
    assert f"{job.name}: 2 of 2 models done, trained on all rows: no score" in str(status)
    assert [row.score for row in read_trial_table(session.database, job.name).rows] == [None, None]
    page = final_report(open_outcome(job.folder))
    assert UNSCORED in page
    assert f"Beside it {beside}" in page
    assert page.count("Out-of-fold accuracy") == page.count("data:image/png;base64,") == 0
    stored = optuna.load_study(study_name=job.name, storage=session.database.storage)
    assert UNSCORED[1:] in get_note(stored)
    assert "Beside it demo/final-1" in get_note(stored)
    notes = str(session.database.storage.get_study_system_attrs(stored._study_id))
    assert notes.count("Trained on all rows, so without a score.") == 2
    described = "\n".join(describe_study(open_training_data(job.study, job.workspace)))
    assert "folds     none: each model is trained on all rows" in described


def test_a_comparable_job_is_told_by_the_metric_of_the_study_without_an_interval_of_it() -> None:
    scores = Scores(accuracy=0.91, macro_f1=0.83)
    told = str(ComparableJob("demo/final-1", 3, "macro_f1", scores, None, (0.9, 0.92)))

    assert told.endswith(
        "out-of-fold macro_f1 0.8300, accuracy 0.9100 (95 % interval of the accuracy 0.9000 to 0.9200)"
    )


def test_a_job_of_other_knobs_is_not_comparable(session: Session, study: Study) -> None:
    leave_scored_job(session)
    other = study.model_copy(update={"training": {**study.training, "dropout": 0.25}})

    job = queue_final_job(other, session.database, session.workspace)
    data = open_training_data(job.study, job.workspace)
    leave_results(job, data)

    assert find_comparable(job, data.identity) is None
    assert make_ensemble(job, data).score is None


def test_a_rescore_has_folds_whatever_the_final_job_has(study: Study) -> None:
    final = rescored_study(study).final

    assert (final.validation, final.models) == (True, study.folds.count)
