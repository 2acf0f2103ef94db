"""A database that any released version has left opens today, and its trials go on: `tests/data/make_database.py`."""

import shutil
from pathlib import Path

import psycopg
import pytest

import foldrace
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.priors.relation import relate
from foldrace.search.priors.sources import read_study
from foldrace.search.study_store import open_study, queue_folds, stored_study
from foldrace.search.trials.claims import Trials
from foldrace.storage.database import Database
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.identity import Identity
from foldrace.studies.study import StudyError
from tests.data.make_database import FOLDER, study
from tests.support.claims import on_clock
from tests.support.later_version import later_version

RELEASED = sorted(path for path in FOLDER.glob("foldrace-*") if path.suffix in (".db", ".sql"))


@pytest.fixture(params=RELEASED, ids=lambda path: path.name)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param.suffix == ".db":
        shutil.copy(request.param, tmp_path / "old.db")
        return Database.open(f"sqlite:///{tmp_path / 'old.db'}", create=False)
    url: str = request.getfixturevalue("fresh_postgres")("template0")
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(request.param.read_bytes())
    return Database.open(url, create=False)


@pytest.mark.parametrize("kind", ["db", "sql"])
def test_this_version_has_left_one_too(kind: str) -> None:
    assert f"foldrace-{foldrace.__version__}.{kind}" in [path.name for path in RELEASED]


def test_an_old_database_says_how_its_study_stands(released: Database) -> None:
    found = read_status(released, "old")

    assert found.trials == {"COMPLETE": 1, "PRUNED": 1, "FAIL": 1, "RUNNING": 2, "WAITING": 1}
    assert found.best is not None
    assert (found.best.number, found.best.value) == (0, 0.75)
    assert [(orphan.number, orphan.why) for orphan in found.orphans] == [
        (3, "released"),
        (4, "its worker is silent"),
    ]
    assert found.failures[0].reason == "the loss is nan"
    released.close()


def test_an_old_study_goes_on_where_it_stood(released: Database, now: list[float]) -> None:
    open_study(released, study(trials=7))  # the same study still, with one trial more
    trials = Trials(released, study(trials=7), WorkerIdentity(), heartbeat=on_clock(now))
    taken = []
    while not trials.is_over():
        claim = trials.claim()
        now[0] += 0 if claim else 20
        if claim is not None:
            taken.append((claim.number, claim.attempt, sorted(claim.evaluations)))
            claim.finish(0.5)

    assert taken == [(3, 2, [(0, 0)]), (5, 1, []), (6, 1, []), (4, 2, [(0, 0)])]
    assert read_status(released, "old").trials == {"COMPLETE": 5, "PRUNED": 1, "FAIL": 1}
    released.close()


def test_an_old_study_is_a_prior_of_a_new_one(released: Database) -> None:
    earlier = read_study(released, "old")

    prior = relate("old", earlier, study().model_copy(update={"name": "new"}))

    assert str(prior) == "old: 2 trials taken over; 2 still ran"
    released.close()


def test_an_old_final_job_is_found_again(released: Database) -> None:
    assert stored_study(released, "old/final-1").identity == Identity.of(study(searched=False))
    assert queue_folds(released, study(searched=False), []) == "old/final-1"
    assert read_status(released, "old/final-1").trials == {"WAITING": 2}
    released.close()


# And the other way round


def test_a_study_of_a_newer_version_is_refused_in_one_line(database: Database) -> None:
    with later_version():
        newer = study().model_copy(update={"training": study().training | {"patience": 0.7}})
        open_study(database, newer)

    for work in (lambda: stored_study(database, "old").parse(), lambda: open_study(database, study())):
        with pytest.raises(StudyError, match=r"^study old: training\.patience: unknown key; a newer foldrace made it"):
            work()


def test_a_study_of_a_newer_version_with_its_defaults_goes_on(database: Database) -> None:
    with later_version():
        open_study(database, study())

    open_study(database, study(trials=7))

    assert read_status(database, "old").trials == {"WAITING": 7}
