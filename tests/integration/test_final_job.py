"""Which final job a study is: the same one again, or one of its own."""

import re
from collections import Counter
from contextlib import closing
from dataclasses import replace
from functools import partial
from multiprocessing.context import ForkContext
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import sqlalchemy as sa
from optuna_dashboard import get_note
from sklearn.metrics import f1_score

from foldrace.search.api.cluster import worker
from foldrace.search.api.train import final
from foldrace.search.cli.inspect import predict
from foldrace.search.ensemble.job import FinalJob, queue_final_job, read_summary, refuse_changed_study
from foldrace.search.ensemble.outcome import open_outcome
from foldrace.search.ensemble.result import make_ensemble
from foldrace.search.launch.final import hand_in, join_final, result_lines
from foldrace.search.recording.final_recorder import record_final
from foldrace.search.reports.final_report import final_report
from foldrace.search.session import Session, open_session
from foldrace.search.study_store import open_study, public_toml
from foldrace.search.workers.command import work_on
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import SHIPPED, load
from foldrace.studies.study import Study
from foldrace.trainer.training_data import open_training_data
from tests.support.final_jobs import leave_results


def fixed(*overrides: str) -> Study:
    """The demo with every knob fixed."""
    demo = load("demo", overrides)
    return demo.with_fixed(demo.search.baseline[0])


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, "demo")


def begun(study: Study, url: str, workspace: Workspace) -> int:
    """The number of the final job, whose study file is left in the workspace as the command leaves it."""
    database = Database.open(url)
    final = queue_final_job(study, database, workspace)
    atomic_write(workspace.final(final.number).study_file, public_toml(final.study))
    database.close()
    return final.number


def finish_folds(session: Session, job: FinalJob) -> None:
    """Have the folds of a final job trained, as the database and its folder know it."""
    leave_results(job, open_training_data(job.study, session.workspace), with_models=True)
    trials = tables.trials.c

    def complete(connection: sa.Connection) -> None:
        study_id = optuna_rows.find_study_id(connection, job.name)
        connection.execute(sa.update(tables.trials).where(trials.study_id == study_id).values(state="COMPLETE"))

    session.database.transact(complete)


def test_the_same_settings_are_the_same_job_and_others_are_the_next(storage_url: str, workspace: Workspace) -> None:
    jobs = [fixed(), fixed("training.lr=2e-3"), fixed(), fixed("training.lr=2e-3"), fixed("final.folds=4")]

    assert [begun(job, storage_url, workspace) for job in jobs] == [1, 2, 1, 2, 3]


def test_a_new_database_leaves_the_files_of_other_jobs_alone(tmp_path: Path, workspace: Workspace) -> None:
    begun(fixed(), f"sqlite:///{tmp_path}/old.db", workspace)
    new = f"sqlite:///{tmp_path}/new.db"

    assert begun(fixed("training.lr=2e-3"), new, workspace) == 2
    assert begun(fixed(), new, workspace) == 1


def test_a_job_whose_data_is_gone_is_another_one(tmp_path: Path, workspace: Workspace) -> None:
    text = public_toml(fixed()).replace("train.tsv", "gone.tsv")
    atomic_write(workspace.final(1).study_file, text)

    assert begun(fixed(), f"sqlite:///{tmp_path}/new.db", workspace) == 2


def test_an_ensemble_leaves_every_folder_of_the_user_alone(tmp_path: Path, workspace: Workspace) -> None:
    database = Database.open(f"sqlite:///{tmp_path}/study.db")
    job = queue_final_job(fixed("final.folds=2"), database, workspace)
    data = open_training_data(job.study, workspace)
    leave_results(job, data)
    mine = workspace.folder / "submissions" / "mine"
    mine.mkdir(parents=True)

    make_ensemble(job, data)
    database.close()

    assert mine.is_dir()


def test_a_final_job_says_which_rows_its_score_is_of(tmp_path: Path) -> None:
    """Two rows of a class cannot be in every one of three folds; and what is excluded, no test row can be given."""
    lines = (SHIPPED / "demo/train.tsv").read_text(encoding="utf-8").splitlines()
    names = [line.rsplit("\t", 1)[1] for line in lines]
    rare, common = (name for name, _ in (Counter(names).most_common()[-1], Counter(names).most_common(2)[1]))
    kept = [i for i, name in enumerate(names) if name != rare][:300] + [i for i, n in enumerate(names) if n == rare][:2]
    (tmp_path / "train.tsv").write_text("\n".join(lines[i] for i in kept) + "\n", encoding="utf-8")
    (tmp_path / "test.tsv").write_text("\n".join(lines[i] for i in kept[:50]) + "\n", encoding="utf-8")
    files = [f"data.train={tmp_path}/train.tsv", f"data.test={tmp_path}/test.tsv", f'data.exclude_labels=["{common}"]']
    excluded = [names[i] for i in kept].count(common), [names[i] for i in kept[:50]].count(common)
    database, workspace = Database.open(f"sqlite:///{tmp_path}/study.db"), Workspace(tmp_path, "demo")
    job = queue_final_job(fixed("final.folds=3", *files), database, workspace)
    data = open_training_data(job.study, workspace)
    leave_results(job, data)

    told = result_lines(job, data, make_ensemble(job, data), has_chosen=False)
    database.close()

    rows = len(kept) - excluded[0]
    assert f"          of {rows - 2} of {rows} rows: the others are only trained on, beside each fold" in told
    assert any("too rare to score: 1 of" in line and line.endswith(f"({rare})") for line in told)
    assert f"excluded  {common}: {excluded[0] / len(kept):.1%} of the training rows; no test row is given it" in told
    assert f"          {excluded[1]} of 50 test rows have such a label, and cannot be right" in told


def test_test_rows_that_are_training_rows_are_told_before_the_folds_are_trained(tmp_path: Path) -> None:
    study, said = fixed("final.folds=2", f"data.test={SHIPPED / 'demo/train.tsv'}"), list[str]()
    with open_session(study, tmp_path) as session:
        finish_folds(session, queue_final_job(study, session.database, session.workspace))

    finished = final(study, devices="cpu", workspace=tmp_path, say=said.append)

    rows = len(finished.data.examples.rows)
    assert said == [f"warning   {rows} of the {rows} test rows are training rows too: models are trained on them"]


def test_the_luck_of_picked_evaluations_is_taken_off_the_score(tmp_path: Path, workspace: Workspace) -> None:
    data = open_training_data(fixed(), workspace)
    job = queue_final_job(fixed(), Database.open(f"sqlite:///{tmp_path}/study.db"), workspace)
    data = replace(data, study=job.study)
    leave_results(job, data)
    unknown = make_ensemble(job, data)
    leave_results(job, data, with_bits=True)

    result = make_ensemble(job, data)

    assert unknown.score is not None
    assert result.score is not None
    assert unknown.score.luck is None
    assert result.score.luck is not None
    assert "a little optimistic: each model is the best" in "\n".join(
        result_lines(job, data, unknown, has_chosen=False)
    )
    assert result.score.luck == pytest.approx(0.055, abs=0.015)  # of the best of eight, on 155 rows
    assert np.mean(result.score.interval) == pytest.approx(result.score.accuracy - result.score.luck, abs=0.01)
    assert f"honest    {result.score.accuracy - result.score.luck:.4f} without that luck" in "\n".join(
        result_lines(job, data, result, has_chosen=False)
    )


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1"])
def test_the_metric_of_the_study_is_said_first_wherever_an_ensemble_is_scored(
    tmp_path: Path, metric: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = fixed(f"search.metric={metric}", "final.folds=2")
    with open_session(study, tmp_path) as session:
        joined, _ = join_final(session)
        job = queue_final_job(study, session.database, session.workspace)
        finish_folds(session, job)
        finished = hand_in(joined)
        assert finished is not None
        record_final(joined, job, finished.data, finished.result)
        note = get_note(optuna.load_study(study_name=job.name, storage=session.database.storage))
    found = pd.read_csv(job.folder / "oof.csv")
    true, predicted = found["label"], found["predicted"]
    scored = set(true) if metric == "macro_f1" else {*true, *predicted} - {"관계_없음"}
    average = metric.removesuffix("_f1")
    expected = f1_score(true, predicted, labels=sorted(scored), average=average, zero_division=0)
    words = f"{metric} {expected:.4f}, accuracy {(true == predicted).mean():.4f}"

    assert f"oof       out-of-fold {words} (95 % interval of the accuracy 0." in str(finished)
    assert f"a little optimistic, by how much is not known of {metric}: each model" in str(finished)
    assert "honest" not in str(finished)
    assert (job.folder / "report.txt").read_text(encoding="utf-8").startswith(f"out of fold: {words}\n\nclass")
    assert getattr(read_summary(job.folder), metric) == pytest.approx(expected)
    page = final_report(open_outcome(job.folder))
    assert f"Out-of-fold {words}." in page
    assert f"by how much is not known of {metric}, which has no interval either." in page
    assert f">{metric}</td>" in page.partition(">accuracy</td>")[0]
    assert f"Out-of-fold {words}** (95 % interval of the accuracy 0." in note
    rows = (SHIPPED / "demo/train.tsv").read_text(encoding="utf-8").splitlines(keepends=True)[:40]
    (tmp_path / "few.tsv").write_text("".join(rows), encoding="utf-8")
    predict(str(job.folder), tmp_path / "few.tsv", device="cpu")
    assert re.search(
        rf"; {metric} 0\.\d{{4}}, accuracy 0\.\d{{4}} on the rows with a known label;", capsys.readouterr().out
    )


def test_the_last_worker_hands_in_with_the_study_file_of_its_ensemble(tmp_path: Path) -> None:
    """Other seeds are the same job: its study file stays that of the ensemble until the next one is made."""
    study = fixed("final.folds=2", "final.seeds=[77]")
    with open_session(study, tmp_path) as session:
        joined, name = join_final(session)
        job = queue_final_job(study, session.database, session.workspace)
        file = job.folder / "study.toml"
        assert (name, file.read_text(encoding="utf-8")) == ("final-1", public_toml(job.study))
        finish_folds(session, job)
        file.unlink()
        said: list[str] = []
        worker(study, seconds=0.0, workspace=tmp_path, final=True, hand_in=True, say=said.append)
        assert len(said) == 1  # also by a worker that is to stop
        assert hand_in(joined) is None

        other = replace(session, study=fixed("final.folds=2", "final.seeds=[77, 78]"))
        again, _ = join_final(other)
        with work_on(again, "final-1"):
            refuse_changed_study(job.folder, read_summary(job.folder))
        assert hand_in(again) is None  # its folds are not trained
        first = file.read_text(encoding="utf-8")
        finish_folds(session, replace(job, study=again.study))
        atomic_write(file, first)
        assert hand_in(again) is not None
        assert hand_in(again) is None
        refuse_changed_study(job.folder, read_summary(job.folder))
        assert read_summary(job.folder).seeds == (77, 78)


def join(root: Path, study: Study) -> None:
    with open_session(study, root) as session:
        join_final(session)


def test_workers_with_more_seeds_queue_the_new_folds_once(tmp_path: Path, storage_url: str, forks: ForkContext) -> None:
    """What failed, and what is trained with files that are elsewhere, is not trained again by one worker more."""
    settings, trials = [f"search.storage={storage_url}", "final.folds=2"], tables.trials.c
    join(tmp_path, fixed(*settings))
    with closing(Database.open(storage_url)) as database:
        for number, state in enumerate(("COMPLETE", "FAIL")):
            of_trial = sa.update(tables.trials).where(trials.number == number)
            database.transact(partial(sa.Connection.execute, statement=of_trial.values(state=state)))
        with forks.Pool(4) as pool:
            pool.starmap(join, [(tmp_path, fixed(*settings, "final.seeds=[77, 78]"))] * 4, chunksize=1)
        queued = database.storage.get_all_trials(1)

    found = [(trial.user_attrs["seed"], trial.user_attrs["fold"], trial.state.name) for trial in queued]
    assert found == [(77, 0, "COMPLETE"), (77, 1, "FAIL"), (78, 0, "WAITING"), (78, 1, "WAITING")]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["final.folds=5"], "the folds by which the search chose"),
        (["final.folds=5", "final.seeds=[78, 77]"], "the folds by which the search chose"),
        (["final.folds=5", "final.seeds=[78]"], "other folds"),
        (["final.folds=5", "data.exclude_labels=['관계_없음']"], "other folds"),
        (["final.folds=2"], "other folds"),
    ],
)
def test_a_score_by_the_folds_of_the_search_is_told_to_be_optimistic(
    tmp_path: Path, overrides: list[str], said: str
) -> None:
    study = fixed(*overrides)
    with open_session(study, tmp_path) as session:
        open_study(session.database, load("demo"))
        joined, _ = join_final(session)
        finish_folds(session, queue_final_job(study, session.database, session.workspace))

        finished = hand_in(joined)

    assert f"          {said}" in str(finished)
