"""How a study stands, for `foldrace status` and the live view: aggregated by the database, so quick at any size.

Never imports optuna or torch, and never reads trial by trial.
"""

import json
from dataclasses import dataclass

import sqlalchemy as sa

from foldrace.search.ranking import select_ranked
from foldrace.storage import leases, optuna_rows, tables, workers
from foldrace.storage.database import Database
from foldrace.storage.workers import Control

_TRIALS, _ATTRS = tables.trials.c, tables.trial_attrs.c
_REPORTS, _LEASES, _WORKERS = tables.trial_intermediate_values.c, tables.leases.c, tables.workers.c
_SHOWN_FAILURES = 20
_PACE_OF = 20  # trials, those that ended last


@dataclass(frozen=True)
class Best:
    """The complete trial with the highest value."""

    number: int
    value: float


@dataclass(frozen=True)
class Failure:
    number: int
    reason: str


@dataclass(frozen=True)
class WorkerStatus:
    """One worker; `silent_seconds` since its last sign of life, by the database's clock."""

    owner: str
    host: str
    pid: int
    device: str
    number: int | None
    fold: int | None
    epoch: float | None
    accuracy: float | None
    rows_per_second: float | None
    stopped: bool
    silent_seconds: float


@dataclass(frozen=True)
class Orphan:
    """A trial that the next free worker adopts, or may adopt once it has watched the lease stand still."""

    number: int
    attempt: int
    owner: str
    why: str


@dataclass(frozen=True)
class Summary:
    """`trials` and `evaluations` count by state, as in {"COMPLETE": 12}; failures are the last 20.

    Attributes:
        first: the value of trial 0, which is the baseline of a study that has one; None until it is complete.
        seconds_each: the mean wall time of the trials that ended last; None until one has.
    """

    name: str
    control: Control
    trials: dict[str, int]
    evaluations: dict[str, int]
    best: Best | None
    first: float | None
    seconds_each: float | None
    workers: tuple[WorkerStatus, ...]
    failures: tuple[Failure, ...]
    orphans: tuple[Orphan, ...]


def summarise(database: Database, name: str, lease_seconds: float = 60.0) -> Summary:
    """The state of a study; a held lease counts as orphaned when its worker has been silent for a lease time.

    Raises:
        StorageError: no such study.
    """
    return database.read(lambda connection: _summarise(connection, name, lease_seconds))


def _summarise(connection: sa.Connection, name: str, lease_seconds: float) -> Summary:
    study_id = optuna_rows.find_study_id(connection, name)
    seen = _workers(connection, study_id)
    silent = {line.owner for line in seen if line.stopped or line.silent_seconds > lease_seconds}
    alive = {line.owner for line in seen} - silent
    return Summary(
        name=name,
        control=workers.read_control(connection, study_id),
        trials=_counts(connection, sa.select(_TRIALS.state, sa.func.count()).where(_TRIALS.study_id == study_id)),
        evaluations=_counts(connection, _reports_by_state(study_id)),
        best=_best(connection, study_id),
        first=_first_value(connection, study_id),
        seconds_each=_seconds_each(connection, study_id),
        workers=seen,
        failures=_failures(connection, study_id),
        orphans=_orphans(connection, study_id, alive),
    )


def _counts(connection: sa.Connection, query: "sa.Select[str, int]") -> dict[str, int]:
    return dict(connection.execute(query.group_by(_TRIALS.state)).all())


def _reports_by_state(study_id: int) -> "sa.Select[str, int]":
    query = sa.select(_TRIALS.state, sa.func.count()).join(
        tables.trial_intermediate_values, _REPORTS.trial_id == _TRIALS.trial_id
    )
    return query.where(_TRIALS.study_id == study_id)


def _best(connection: sa.Connection, study_id: int) -> Best | None:
    found = connection.execute(select_ranked(study_id).limit(1)).first()
    return None if found is None else Best(found.number, found.value)


def _first_value(connection: sa.Connection, study_id: int) -> float | None:
    found = connection.execute(select_ranked(study_id).where(_TRIALS.number == 0)).first()
    return None if found is None else found.value


def _seconds_each(connection: sa.Connection, study_id: int) -> float | None:
    query = sa.select(_TRIALS.datetime_start, _TRIALS.datetime_complete).where(
        _TRIALS.study_id == study_id, _TRIALS.datetime_start.is_not(None), _TRIALS.datetime_complete.is_not(None)
    )
    found = connection.execute(query.order_by(_TRIALS.datetime_complete.desc()).limit(_PACE_OF)).all()
    return sum((ended - begun).total_seconds() for begun, ended in found) / len(found) if found else None


def _workers(connection: sa.Connection, study_id: int) -> tuple[WorkerStatus, ...]:
    names = [_WORKERS[name] for name in WorkerStatus.__dataclass_fields__ if name != "silent_seconds"]
    silent = (workers.seconds_now(connection) - _WORKERS.seen_at).label("silent_seconds")
    query = sa.select(*names, silent).where(_WORKERS.study_id == study_id).order_by(_WORKERS.host, _WORKERS.pid)
    return tuple(WorkerStatus(**row) for row in connection.execute(query).mappings())


def _failures(connection: sa.Connection, study_id: int) -> tuple[Failure, ...]:
    reason = sa.and_(_ATTRS.trial_id == _TRIALS.trial_id, _ATTRS.key == optuna_rows.FAILURE)
    query = sa.select(_TRIALS.number, _ATTRS.value_json).outerjoin(tables.trial_attrs, reason)
    failed = query.where(_TRIALS.study_id == study_id, _TRIALS.state == "FAIL")
    found = connection.execute(failed.order_by(_TRIALS.number.desc()).limit(_SHOWN_FAILURES))
    return tuple(Failure(number, json.loads(text) if text else "no reason was recorded") for number, text in found)


def _orphans(connection: sa.Connection, study_id: int, alive: set[str]) -> tuple[Orphan, ...]:
    query = sa.select(_TRIALS.number, _LEASES.attempt, _LEASES.owner, _LEASES.state)
    query = query.join(tables.trials, _TRIALS.trial_id == _LEASES.trial_id).where(_LEASES.study_id == study_id)
    found = connection.execute(query.where(_TRIALS.state == "RUNNING").order_by(_TRIALS.number))
    reasons = {
        "released": "let go in good order",
        "orphaned": "its worker died",
        **dict.fromkeys(leases.OWNED, "its worker is silent"),
    }
    return tuple(
        Orphan(row.number, row.attempt, row.owner, reasons[row.state])
        for row in found
        if row.state not in leases.OWNED or row.owner not in alive
    )
