"""A worker stores how good the leader is; that counts while nothing more has ended, and under the same rules."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from foldrace.search.assessment import reader, stored
from foldrace.search.assessment.reader import read_assessment, read_scores
from foldrace.search.assessment.stored import KEY, find_assessment, store_assessment
from foldrace.search.launch.rescore import queue_rescore
from foldrace.search.session import Session
from foldrace.search.study_store import RESCORE, job_name, open_study
from foldrace.search.trials.claims import Trials, TrialsSettings
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.leases.lease import delete_rows
from foldrace.storage.workers import WorkerIdentity
from foldrace.storage.workspace import Workspace
from foldrace.studies.study import Study
from tests.support.claims import must_claim
from tests.support.records import record_at

NAME, FOLDS, LAST = "small", 5, 7
ALTERED = 0.123  # a score that no trial here has: whoever finds it has read what is stored
Trained = Callable[..., None]


@pytest.fixture
def session(database: Database, make_study: Callable[..., Study], tmp_path: Path) -> Session:
    study = make_study(trials=5)
    open_study(database, study)
    return Session(study, Workspace(tmp_path, NAME), database)


@pytest.fixture
def trained(session: Session) -> Trained:
    """Claims a trial of the study, or of a job beside it, and ends it in one of three ways; two trials are complete."""

    def train(level: float, ends: str, job: str | None = None) -> None:
        settings = TrialsSettings(job and job_name(NAME, job), by_folds=ends == "aside")
        claim = must_claim(Trials(session.database, session.study, WorkerIdentity(), settings))
        for fold in range(FOLDS if ends == "complete" and not job else 1):
            best = level + 0.005 * ((fold * 7 + claim.number * 3) % 5 - 2)
            claim.report(fold, best, record_at(LAST, best))
        if ends == "complete":
            claim.finish(level)
        elif ends == "pruned":
            claim.prune("it was asked for")
        else:
            assert claim.put_aside(FOLDS)

    for level in (0.7, 0.8):
        train(level, "complete")
    return train


def alter_stored(database: Database) -> None:
    attrs = tables.study_system_attrs

    def work(connection: sa.Connection) -> None:
        text = connection.execute(sa.select(attrs.c.value_json).where(attrs.c.key == KEY)).scalar_one()
        found = json.loads(text)
        found["assessment"]["chosen"] = ALTERED
        connection.execute(sa.update(attrs).where(attrs.c.key == KEY).values(value_json=json.dumps(found)))

    database.transact(work)


def chosen(database: Database) -> float:
    found = find_assessment(database, NAME)
    assert found is not None
    return found.chosen


def test_what_is_stored_is_what_was_assessed(database: Database, trained: Trained) -> None:
    made = store_assessment(database, NAME)

    assert made is not None
    assert find_assessment(database, NAME) == made == read_assessment(database, NAME)
    alter_stored(database)
    assert chosen(database) == ALTERED


@pytest.mark.parametrize(
    ("ends", "job"), [("complete", None), ("pruned", None), ("aside", None), ("complete", RESCORE)]
)
def test_it_does_not_count_once_more_has_ended(
    database: Database, session: Session, trained: Trained, ends: str, job: str | None
) -> None:
    queue_rescore(session, top=1, repeats=1)
    store_assessment(database, NAME)
    alter_stored(database)
    assert chosen(database) == ALTERED

    trained(0.75, ends, job)

    assert chosen(database) == pytest.approx(0.8, abs=0.02)


def test_it_does_not_count_once_a_trial_has_failed_though_as_many_folds_are_done(
    database: Database, trained: Trained
) -> None:
    trained(0.75, "aside")
    store_assessment(database, NAME)
    alter_stored(database)

    def fail(connection: sa.Connection) -> None:
        optuna_rows.end_trial(connection, 3, "FAIL")
        delete_rows(connection, 1, 3)

    database.transact(fail)
    trained(0.6, "aside")

    assert chosen(database) == pytest.approx(0.8, abs=0.02)


def test_the_rows_of_the_leader_are_read_though_others_are_complete_and_it_was_put_aside(
    database: Database, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "IN_FULL", 1)

    trained(0.95, "aside")

    scores = read_scores(database, NAME)
    assert scores.candidates == (1, 0, 2)
    assert scores.leader == 2
    assert set(scores.unbiased) == {0, 2}


def test_that_of_other_rules_does_not_count(
    database: Database, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_assessment(database, NAME)
    alter_stored(database)

    monkeypatch.setattr(stored, "RULES", stored.RULES + 1)

    assert chosen(database) == pytest.approx(0.8, abs=0.02)
