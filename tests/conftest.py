"""Fixtures shared by all tests: a fresh database of either kind, and small studies."""

import gc
import multiprocessing
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from foldrace.search.trials.claims import WITHOUT_PRUNER, Trials, TrialsSettings
from foldrace.storage.database import Database
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.data import Data
from foldrace.studies.settings import Range
from foldrace.studies.study import Study
from tests.support.claims import on_clock
from tests.support.postgres import administer, running_server

DATABASES = ["sqlite", "postgresql"]

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: many processes of many threads crawl
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C, and so would ours

gc.disable()  # until all tests are collected: nothing of what they import is garbage


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share what takes long to make stay in one process, in their order."""
    for item in items:
        for shared in {"finished", "undisturbed", "walk"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(shared))


def pytest_collection_finish() -> None:
    """Collect garbage from now on, but not among what was imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    """A PostgreSQL server of our own, for the session; the URL is that of its maintenance database."""
    with running_server() as url:
        yield url


@pytest.fixture(scope="session")
def made_postgres(postgres_server: sa.URL) -> str:
    """The name of a PostgreSQL database with all tables, to copy: making them takes far longer."""
    administer(postgres_server, "CREATE DATABASE made")
    Database.open(postgres_server.set(database="made").render_as_string()).close()
    return "made"


@pytest.fixture(scope="session")
def made_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    path = tmp_path_factory.mktemp("made") / "made.db"
    Database.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def fresh_postgres(postgres_server: sa.URL) -> Iterator[Callable[[str], str]]:
    """Makes a PostgreSQL database from a template; it is dropped after the test."""
    name = f"t{uuid.uuid4().hex}"

    def make(template: str) -> str:
        administer(postgres_server, f"CREATE DATABASE {name} TEMPLATE {template}")
        return postgres_server.set(database=name).render_as_string()

    yield make
    administer(postgres_server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(fresh_postgres: Callable[[str], str], made_postgres: str) -> str:
    """A fresh PostgreSQL database with all tables."""
    return fresh_postgres(made_postgres)


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database in which nothing has been made yet, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    url: str = request.getfixturevalue("fresh_postgres")("template0")
    return url


@pytest.fixture(params=DATABASES)
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind: the same tests run over SQLite and PostgreSQL."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("made_sqlite"), tmp_path / "study.db")
        return f"sqlite:///{tmp_path / 'study.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def database(storage_url: str) -> Iterator[Database]:
    opened = Database.open(storage_url)
    yield opened
    opened.close()


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """A study over two knobs; keyword arguments are those of its [search]."""
    train = tmp_path / "train.tsv"
    train.write_text("a row\n", encoding="utf-8")

    def make(name: str = "small", **search: Any) -> Study:
        training = {"gamma": Range(low=0.4, high=1.0), "epochs": Range(low=5, high=40)}
        return Study.model_validate(
            {"name": name, "data": Data(train=train), "training": training, "search": {"trials": 3, **search}}
        )

    return make


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> ForkContext:
    """Processes that start with everything imported: sixteen that import it would take ten seconds."""
    warm = Database.open(f"sqlite:///{tmp_path_factory.mktemp('warm') / 'warm.db'}")
    warm.storage.get_all_studies()
    warm.close()
    return multiprocessing.get_context("fork")


@pytest.fixture
def now() -> list[float]:
    """A clock that stands still: `now[0] += 60` moves it."""
    return [0.0]


@pytest.fixture
def trials_of(database: Database, now: list[float]) -> Callable[..., Trials]:
    """A worker's view of a study, with the clock that stands still and no heartbeat but those that a test asks for."""

    def view(study: Study, settings: TrialsSettings = WITHOUT_PRUNER) -> Trials:
        return Trials(database, study, WorkerIdentity(), settings, on_clock(now))

    return view
