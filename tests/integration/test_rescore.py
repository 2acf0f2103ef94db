"""A rescore: the leaders are trained on fresh folds, each once, whoever asks and however often."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import foldrace
from foldrace.search.assessment.reader import read_assessment, read_scores
from foldrace.search.ensemble.export import select_trial
from foldrace.search.launch.rescore import RescoreError, fresh_seed, queue_rescore
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.session import Session, open_session
from foldrace.search.study_store import RESCORE, job_name, open_study, study_exists
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import Trials, TrialsSettings
from foldrace.search.workers.entrypoint import WorkerOptions, run_worker
from foldrace.storage.database import Database
from foldrace.storage.errors import StorageError
from foldrace.storage.workers import WorkerIdentity
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import SHIPPED, load
from foldrace.studies.study import Study
from tests.support.records import record_at

LEVELS = (0.70, 0.80, 0.78)


@pytest.fixture
def session(
    database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials], tmp_path: Path
) -> Session:
    """Three complete trials, of which the second is best, and one that was pruned above them."""
    study = make_study(trials=4)
    open_study(database, study)
    trials = trials_of(study)
    for level in LEVELS:
        claim = claimed(trials)
        scored(claim, level, range(study.folds.count))
        claim.finish(level)
    last = claimed(trials)
    scored(last, 0.9, [0])
    last.prune("it was asked for")
    return Session(study, Workspace(tmp_path, study.name), database)


def claimed(trials: Trials) -> Claim:
    claim = trials.claim()
    assert claim is not None
    return claim


def scored(claim: Claim, level: float, folds: range | list[int]) -> None:
    """The last evaluation of some folds, a little scattered around a level."""
    for fold in folds:
        best = level + 0.005 * ((fold * 7 + claim.number * 3) % 5 - 2)
        claim.report(fold, best, record_at(7, best))


def fresh_trials(session: Session) -> Iterator[Claim]:
    study = session.study.model_copy(update={"final": session.study.final.model_copy(update={"folds": 5})})
    settings = TrialsSettings(job_name(study.name, RESCORE))
    trials = Trials(session.database, study, WorkerIdentity(), settings)
    while (claim := trials.claim()) is not None:
        yield claim


def test_a_study_file_that_was_edited_since_is_refused_and_nothing_is_queued(session: Session) -> None:
    training = session.study.training | {"lr": 1.0}
    edited = replace(session, study=session.study.model_copy(update={"training": training}))

    with pytest.raises(StorageError, match=r"training\.lr is 1\.0, was .*; give what it was begun with"):
        queue_rescore(edited, top=2, repeats=1)
    assert not study_exists(session.database, job_name(session.study.name, RESCORE))


def test_the_fresh_folds_of_the_leaders_are_queued_once_with_their_knobs(session: Session) -> None:
    jobs = [queue_rescore(session, top=2, repeats=1) for _ in range(2)]
    claims = list(fresh_trials(session))

    assert [job.trials for job in jobs] == [(1, 2), (1, 2)]
    queued = [tuple(claim.user_attrs[name] for name in ("trial", "repeat", "fold")) for claim in claims]
    assert queued == [(number, 1, fold) for number in (1, 2) for fold in range(5)]
    assert {claim.user_attrs["seed"] for claim in claims} == {fresh_seed(session.study, 1)}
    knobs = {number: select_trial(session.database, session.study, str(number)).sampled for number in (1, 2)}
    assert all(claim.sampled == knobs[claim.user_attrs["trial"]] for claim in claims)
    for claim in claims:
        claim.release()


def test_more_repeats_and_trials_queue_the_difference(session: Session) -> None:
    queue_rescore(session, top=1, repeats=1)
    queue_rescore(session, top=9, repeats=2)

    assert read_status(session.database, job_name(session.study.name, RESCORE)).total == 3 * 2 * 5
    assert fresh_seed(session.study, 1) != fresh_seed(session.study, 2)


def test_fresh_folds_choose_what_is_exported_and_score_it(session: Session) -> None:
    """The best trial of the search was lucky: on fresh folds the second one is far better."""
    believed = read_assessment(session.database, session.study.name)
    queue_rescore(session, top=2, repeats=1)
    for claim in fresh_trials(session):
        level = 0.70 if claim.user_attrs["trial"] == 1 else 0.77
        scored(claim, level, [claim.user_attrs["fold"]])
        claim.finish(level)

    found = read_assessment(session.database, session.study.name)

    assert believed is not None
    assert found is not None
    assert (believed.trial, believed.fresh_folds) == (1, 0)
    assert (found.trial, found.fresh_folds) == (2, 5)
    assert found.honest.mean == pytest.approx(0.76)  # 0.77, less the scatter of these folds
    assert select_trial(session.database, session.study).number == 2
    assert read_scores(session.database, session.study.name, with_rescore=False).leader == 1
    status = read_status(session.database, session.study.name)
    assert (len(status.rescores), status.finals) == (1, ())


def test_a_rescore_of_a_billion_splits_is_refused_at_once(session: Session) -> None:
    with pytest.raises(RescoreError, match=r"--repeats 1000000000: at most \d+ of \d+ trials of \d+ folds"):
        queue_rescore(session, 3, 10**9)


@pytest.mark.parametrize("asked", [(0, 1), (3, 0)], ids=["no trial", "no repeat"])
def test_a_rescore_of_nothing_is_refused(session: Session, asked: tuple[int, int]) -> None:
    with pytest.raises(RescoreError, match="at least one trial"):
        queue_rescore(session, *asked)


def test_without_a_complete_trial_there_is_none_to_score_again(
    database: Database, make_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = make_study()
    open_study(database, study)

    with pytest.raises(RescoreError, match="no trial is complete yet"):
        queue_rescore(Session(study, Workspace(tmp_path, study.name), database), 3, 1)


def test_a_rescore_trains_goes_on_where_it_stood_and_finds_what_is_done(tmp_path: Path) -> None:
    """Two folds of a small model in one process; the first of them by a worker that is stopped after it."""
    lines = (SHIPPED / "demo/train.tsv").read_text(encoding="utf-8").splitlines()[:120]
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    overrides = [f"data.train={tmp_path}/train.tsv", "folds.count=2", "search.trials=1", "training.epochs=1"]
    study = load("demo", [*overrides, "training.evaluations=2", "search.baseline={}"], name="small")
    with open_session(study, tmp_path) as session:
        run_worker(session, WorkerOptions("cpu"), lambda: False)
        queue_rescore(session, 1, 1)
    fold = tmp_path / "small/rescore-1/trial-00000/repeat-1"

    with open_session(study, tmp_path) as session:
        run_worker(session, WorkerOptions("cpu", job=RESCORE), lambda: (fold / "fold-0/result.safetensors").exists())
        between = read_status(session.database, "small/rescore-1").trials
    found = foldrace.rescore(study, top=3, workers=1, workspace=tmp_path, say=lambda _: None)
    begun = (fold / "fold-1/result.safetensors").stat().st_mtime_ns
    again = foldrace.rescore(study, top=3, workers=1, workspace=tmp_path, say=lambda _: None)

    assert between.get("COMPLETE") == 1
    assert str(found).splitlines()[0] == "rescored  trial 0: 2 fresh folds each"
    assert (fold / "fold-1/result.safetensors").stat().st_mtime_ns == begun
    assert again == found
    assert not list(fold.rglob("model"))
