"""What the recorder stores of trials in a real database and workspace, and what the reports show of it."""

import logging
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna_dashboard import get_note, save_note

from foldrace.search.cli.inspect import report
from foldrace.search.ensemble.job import FinalError, FinalJob, queue_final_job
from foldrace.search.ensemble.outcome import open_outcome
from foldrace.search.ensemble.result import make_ensemble
from foldrace.search.recording.final_recorder import record_final
from foldrace.search.recording.recorder import SECONDS, Recorder, draw_study
from foldrace.search.reports.final_report import final_report
from foldrace.search.reports.search_report import search_report
from foldrace.search.session import Session, open_session
from foldrace.search.study_store import open_study
from foldrace.search.trials.assignment import Assignment
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import Trials
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.leases.lease import LeaseLost
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.data import Data
from foldrace.studies.settings import Range
from foldrace.studies.study import Study, StudyError
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.metrics import Scores
from foldrace.trainer.training_data import TrainingData, open_training_data
from tests.support.claims import NO_HEARTBEAT
from tests.support.final_jobs import leave_results

LABELS = ("관계_없음", "<script>alert(1)</script>", "$\\frac{")
FOLDS = 2


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of thirty rows, whose labels, ids and sentences are as hostile as a data file lets them be."""
    entity = "{{'word': '{0}', 'start_idx': {1}, 'end_idx': {2}, 'type': 'PER'}}"
    lines = ["id,sentence,subject_entity,object_entity,label"]
    for i in range(30):
        entities = f'"{entity.format("갑", 0, 0)}","{entity.format("을", 2, 2)}"'
        lines.append(f"<b>{i},갑 을 <img src=x onerror=alert({i})>,{entities},{LABELS[i % 3]}")
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    training: dict[str, Any] = {"gamma": Range(low=0.4, high=1.0), "epochs": 2, "evaluations": 2}
    search = {"trials": 4, "pruner": "none", "trackers": ("tensorboard",)}
    sections = {"data": Data(train=path, test=path), "training": training, "search": search}
    return Study.model_validate({"name": "small", "folds": {"count": FOLDS}, "final": {"folds": FOLDS}, **sections})


@pytest.fixture
def session(study: Study, tmp_path: Path) -> Iterator[Session]:
    with open_session(study, tmp_path / "runs") as opened:
        yield opened


@pytest.fixture
def data(session: Session) -> TrainingData:
    return open_training_data(session.study, session.workspace)


@pytest.fixture
def trials(session: Session) -> Trials:
    open_study(session.database, session.study)
    return Trials(session.database, session.study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)


@pytest.fixture
def recorder(session: Session, data: TrainingData, trials: Trials) -> Recorder:
    return Recorder(session, data, WorkerIdentity(owner="host:<b>1"), None)


@pytest.fixture
def assign(session: Session, data: TrainingData) -> Callable[[Claim], Assignment]:
    """What a worker's claim asks for: every fold of the search."""
    plan = data.plan(FOLDS, session.study.folds.seed)

    def assignment(claim: Claim) -> Assignment:
        knobs = session.study.hyperparameters(claim.sampled)
        return Assignment(knobs, plan, (0, 1), lambda fold: session.workspace.fold(claim.number, fold), False)

    return assignment


def evaluation(index: int, accuracy: float) -> EvaluationRecord:
    scores = Scores(accuracy, accuracy, accuracy, accuracy, 0.1)
    return EvaluationRecord(
        index=index,
        step=index + 1,
        epoch=index + 1.0,
        cycle_end=index == 1,
        lr=1e-3,
        train_loss=2.0,
        eval_loss=2.1,
        scores=scores,
        right="00",
        best=accuracy,
    )


def judged(trials: Trials, *accuracies: float) -> Claim:
    """A claimed trial with these evaluations, two in each fold."""
    claim = trials.claim()
    assert claim is not None
    for i, accuracy in enumerate(accuracies):
        claim.report(i // 2, accuracy, evaluation(i % 2, accuracy))
    return claim


def stored(session: Session) -> optuna.Study:
    return optuna.load_study(study_name="small", storage=session.database.storage)


def test_a_trial_has_a_note_and_a_picture_before_it_ends(
    recorder: Recorder, trials: Trials, session: Session, assign: Callable[[Claim], Assignment]
) -> None:
    claim = judged(trials, 0.5, 0.6, 0.6, 0.8)

    recorder.record_end(claim, assign(claim), "COMPLETE", value=0.7)

    trial = claim.trial
    assert "**accuracy 0.7000**" in get_note(trial)
    assert "host&#58;&#60;b&#62;1" in get_note(trial)
    (meta,) = get_all_artifact_meta(trial)
    assert (meta.filename, meta.mimetype) == ("curves.png", "image/png")
    assert f"![curves](/artifacts/1/{trial._trial_id}/{meta.artifact_id})" in get_note(trial)
    assert (session.workspace.folder / "artifacts" / meta.artifact_id).read_bytes().startswith(b"\x89PNG")
    assert claim.finish(0.7)
    assert 0 < stored(session).trials[0].user_attrs[SECONDS] == pytest.approx(recorder.seconds, abs=1e-3)


def test_recording_a_trial_again_replaces_its_picture(
    recorder: Recorder, trials: Trials, assign: Callable[[Claim], Assignment]
) -> None:
    claim = judged(trials, 0.5)

    for _ in range(2):
        recorder.record_end(claim, assign(claim), "PRUNED", reason="no better")

    assert len(get_all_artifact_meta(claim.trial)) == 1


def test_a_lost_lease_passes_through_and_nothing_is_left(
    recorder: Recorder, trials: Trials, session: Session, assign: Callable[[Claim], Assignment]
) -> None:
    claim = judged(trials, 0.5)
    claim.release()
    adopter = trials.claim()
    assert adopter is not None
    assert adopter.number == claim.number

    with pytest.raises(LeaseLost):
        recorder.record_end(claim, assign(claim), "COMPLETE", value=0.5)

    assert get_note(adopter.trial) == ""


def test_an_artifact_folder_that_cannot_be_made_is_one_line_and_the_trial_ends(
    recorder: Recorder,
    trials: Trials,
    session: Session,
    assign: Callable[[Claim], Assignment],
    caplog: pytest.LogCaptureFixture,
) -> None:
    atomic_write(session.workspace.folder / "artifacts", "a file where the folder should be")
    claim = judged(trials, 0.5, 0.6)

    recorder.record_end(claim, assign(claim), "PRUNED", reason="no better")

    assert claim.prune("no better")
    (line,) = [one.getMessage() for one in caplog.records if one.name == "foldrace.record"]
    assert line.startswith("the pictures of trial 0: not everything is recorded: FileExistsError: ")


def test_the_trackers_hear_of_a_trial_that_ended(
    recorder: Recorder, trials: Trials, session: Session, assign: Callable[[Claim], Assignment]
) -> None:
    claim = judged(trials, 0.5, 0.6, 0.6, 0.8)
    recorder.record_end(claim, assign(claim), "COMPLETE", value=0.7)
    claim.finish(0.7)

    recorder.flush()

    assert list((session.workspace.folder / "tensorboard" / "trial-00000").iterdir())


def test_the_leader_is_assessed_whenever_a_trial_has_ended(
    recorder: Recorder, trials: Trials, session: Session
) -> None:
    for level in (0.7, 0.8):
        judged(trials, level, level, level, level).finish(level)
        recorder.flush()

    attributes = session.database.storage.get_study_system_attrs(stored(session)._study_id)
    assert ["small", "COMPLETE", 2] in attributes["assessment"]["ended"]


def test_one_worker_draws_the_study_when_it_ends(
    recorder: Recorder, trials: Trials, session: Session, data: TrainingData, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "foldrace.record")
    judged(trials, 0.5, 0.6, 0.6, 0.8).finish(0.7)
    judged(trials, 0.4).prune("no better")

    other = Recorder(session, data, WorkerIdentity(), None)
    recorder.draw_last()
    other.draw_last()
    recorder.close()
    other.close()

    attributes = session.database.storage.get_study_system_attrs(stored(session)._study_id)
    drawn = {key.split(":")[2] for key in attributes if key.startswith("dashboard:plot_data:")}
    assert drawn == {"incumbent", "race"}
    note = get_note(stored(session))
    assert "**Best: accuracy 0.7000**" in note
    assert "[trial 0](/dashboard/studies/1/trials?numbers=0)" in note
    save_note(stored(session), "mine")
    draw_study(session)
    assert get_note(stored(session)) == "mine"
    assert caplog.messages[0].startswith("recording took ")


def test_a_study_without_a_complete_trial_gives_a_harmless_report(trials: Trials, session: Session) -> None:
    empty = search_report(session)
    judged(trials, 0.4).prune("<script>alert(1)</script>")

    text = search_report(session)

    assert "No trial is complete yet" in empty
    assert "No trial is complete yet" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert_harmless(text)


def test_a_report_has_the_best_trial_the_ledger_and_the_commands(trials: Trials, session: Session) -> None:
    judged(trials, 0.5, 0.6, 0.6, 0.8).finish(0.7)
    judged(trials, 0.4).prune("no better")

    text = search_report(session)

    assert "The best is trial 0: mean fold accuracy 0.7000" in text
    assert '<td class="n">1</td><td class="t">pruned</td><td class="n">1</td><td class="t">no better</td>' in text
    assert re.findall("<dt>(.*?)</dt>", text) == ["found", "how sure", "cost", "next"]
    assert "foldrace export small --trial 0" in text
    assert text.count("data:image/png;base64,") == 4
    assert_harmless(text)


def test_a_final_job_is_reported_and_recorded(session: Session, data: TrainingData) -> None:
    job = final_of(session, data)
    result = make_ensemble(job, data)

    record_final(Session(job.study, session.workspace, session.database), job, data, result)
    text = final_report(open_outcome(job.folder))

    assert_harmless(text)
    assert result.score is not None
    assert f"Out-of-fold accuracy {result.score.accuracy:.4f}" in text
    assert "&lt;img src=x onerror=alert(" in text  # a hard row's sentence
    assert text.count("data:image/png;base64,") == 3
    read = optuna.load_study(study_name="small/final-1", storage=session.database.storage)
    assert f"Out-of-fold accuracy {result.score.accuracy:.4f}" in get_note(read)
    assert get_note(read).count("](/artifacts/") == len(get_all_artifact_meta(read)) == 3
    assert read.metric_names == ["accuracy"]
    assert list((session.workspace.folder / "tensorboard" / "final-1").iterdir())


def test_a_folder_without_an_ensemble_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FinalError, match="no finished ensemble there"):
        open_outcome(tmp_path / "final-1")


@pytest.mark.parametrize("by", ["folder", "small/final-1", "small"])
def test_a_final_job_alone_is_reported_by_folder_or_name_wherever_its_data_is(
    by: str, session: Session, data: TrainingData, tmp_path: Path
) -> None:
    job = final_of(session, data)
    make_ensemble(job, data)
    moved = job.study.data.files["train"][0].rename(tmp_path / "moved.csv")
    study, runs = str(job.folder) if by == "folder" else by, session.workspace.root

    with pytest.raises(StudyError, match=r"--set data\.train=PATH names another"):
        report(study, workspace=runs)
    report(study, set_=[f"data.train={moved}", f"data.test={moved}"], workspace=runs)

    assert "Out-of-fold accuracy" in (job.folder / "report.html").read_text(encoding="utf-8")


def final_of(session: Session, data: TrainingData) -> FinalJob:
    """A final job whose folds are done."""
    job = queue_final_job(session.study.with_fixed({"gamma": 0.5}), session.database, session.workspace)
    leave_results(job, data)
    return job


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def assert_harmless(text: str) -> None:
    """No script, nothing that is loaded from elsewhere, and no tag that the page does not make itself."""
    tags = _Tags()
    tags.feed(text)
    ours = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "tr", "th", "td", "pre", "img"}
    ours |= {"div", "details", "summary", "thead", "tbody", "dl", "dt", "dd"}
    assert {tag for tag, _ in tags.found} <= ours
    assert all(str(attrs["src"]).startswith("data:image/png;base64,") for tag, attrs in tags.found if tag == "img")
    assert not any(name.startswith("on") or name == "href" for _, attrs in tags.found for name in attrs)
