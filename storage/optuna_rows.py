"""Optuna's rows, written inside a transaction of ours.

Optuna's own methods each open a transaction, so what they write cannot be fenced: between the check of a lease and
the write, the lease can be lost. Nothing here commits.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from foldrace.storage import tables
from foldrace.storage.address import without_password
from foldrace.storage.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

State = Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING"]
FAILURE, REASON = "failure", "reason"  # the user attributes that say why a trial failed, and why it was pruned
RACES = "races"  # the user attribute of a queued trial that may be pruned though its values were given
CELLS = "fold%/eval%"  # the pattern of SQL's LIKE that every `cell_key` matches
FINALS = "fold%/final"  # and every `final_key`
ENDED: tuple[State, ...] = ("COMPLETE", "PRUNED", "FAIL")
UNFINISHED: tuple[State, ...] = ("RUNNING", "WAITING")


def cell_key(fold: int, evaluation: int) -> str:
    """The user attribute of a trial that holds the record of one evaluation of one fold, both from 0."""
    return f"fold{fold}/eval{evaluation}"


def final_key(fold: int) -> str:
    """The user attribute of a trial that says that a fold of it went to the finals."""
    return f"fold{fold}/final"


def find_study_id(connection: sa.Connection, name: str) -> int:
    """The id of the study of that name. Raises StorageError, with the names that are there, when there is none."""
    studies = tables.studies.c
    found = connection.execute(sa.select(studies.study_id).where(studies.study_name == name)).scalar()
    if found is None:
        names = connection.execute(sa.select(studies.study_name).order_by(studies.study_name)).scalars().all()
        nearest_first = sorted(names, key=lambda other: other not in get_close_matches(name, names, 1))
        there = f"; there: {', '.join(nearest_first)}" if names else ", for nothing has run yet"
        begins = "rescore" if "/rescore-" in name else "final" if "/final-" in name else "run with its study file"
        place = without_password(connection.engine.url)
        raise StorageError(f"{place}: no study {name}{there}; foldrace {begins} begins it")
    return int(found)


def dialect_insert(connection: sa.Connection, table: sa.Table) -> "postgresql.Insert | sqlite.Insert":
    """An INSERT of the database's own dialect: it has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # a tenth of the time of `foldrace status`, where it is not used

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def upsert(connection: sa.Connection, table: sa.Table, key: Sequence[str], values: Mapping[str, Any]) -> None:
    """Insert a row, or update the one with the same `key` columns."""
    changed = {name: value for name, value in values.items() if name not in key}
    statement = dialect_insert(connection, table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=changed))


def set_trial_attrs(connection: sa.Connection, trial_id: int, attrs: Mapping[str, object]) -> None:
    """Store user attributes of a trial as JSON; a number that is not finite becomes null."""
    for key, value in attrs.items():
        row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(_finite(value), ensure_ascii=False)}
        upsert(connection, tables.trial_attrs, ("trial_id", "key"), row)


def read_trial_attr(connection: sa.Connection, trial_id: int, key: str) -> object:
    """The value of a user attribute of a trial; None when it has none."""
    attrs = tables.trial_attrs.c
    found = sa.select(attrs.value_json).where(attrs.trial_id == trial_id, attrs.key == key)
    text = connection.execute(found).scalar()
    return None if text is None else json.loads(text)


def read_cells(connection: sa.Connection, trial_id: int) -> dict[str, Any]:
    """The records of all evaluations of a trial, by their `cell_key`."""
    attrs = tables.trial_attrs.c
    found = sa.select(attrs.key, attrs.value_json).where(attrs.trial_id == trial_id, attrs.key.like(CELLS))
    return {key: json.loads(text) for key, text in connection.execute(found)}


def count_finals(connection: sa.Connection, study_id: int) -> int:
    """How many folds the finalists of a search have been given."""
    attrs, trials = tables.trial_attrs.c, tables.trials.c
    query = sa.select(sa.func.count()).select_from(tables.trial_attrs)
    query = query.join(tables.trials, trials.trial_id == attrs.trial_id)
    return int(connection.execute(query.where(trials.study_id == study_id, attrs.key.like(FINALS))).scalar_one())


def read_trial_state(connection: sa.Connection, trial_id: int) -> State | None:
    """The state of a trial; None when there is none with this id."""
    trials = tables.trials.c
    found: State | None = connection.execute(sa.select(trials.state).where(trials.trial_id == trial_id)).scalar()
    return found


def set_trial_system_attrs(connection: sa.Connection, trial_id: int, attrs: Mapping[str, object]) -> None:
    """Store what Optuna's pruners keep with a trial."""
    for key, value in attrs.items():
        row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        upsert(connection, tables.trial_system_attrs, ("trial_id", "key"), row)


def set_intermediate_value(connection: sa.Connection, trial_id: int, step: int, value: float) -> None:
    """Store what Optuna's `trial.report(value, step)` stores."""
    kind = "NAN" if math.isnan(value) else _kind(value)
    row = {
        "trial_id": trial_id,
        "step": step,
        "intermediate_value": value if kind == "FINITE" else None,
        "intermediate_value_type": kind,
    }
    upsert(connection, tables.trial_intermediate_values, ("trial_id", "step"), row)


def read_last_value(connection: sa.Connection, trial_id: int) -> float | None:
    """The intermediate value of the highest step; None where there is none, or it is not finite."""
    values = tables.trial_intermediate_values.c
    query = sa.select(values.intermediate_value).where(values.trial_id == trial_id).order_by(values.step.desc())
    found: float | None = connection.execute(query.limit(1)).scalar()
    return found


def set_trial_params(connection: sa.Connection, trial_id: int, params: Mapping[str, tuple[float, str]]) -> None:
    """Store a trial's parameters; one that is stored already stays.

    Args:
        params: by name, the value as Optuna's number (its internal representation) and the distribution as JSON.
    """
    if not params:
        return
    rows = [
        {"trial_id": trial_id, "param_name": name, "param_value": value, "distribution_json": distribution}
        for name, (value, distribution) in params.items()
    ]
    connection.execute(dialect_insert(connection, tables.trial_params).values(rows).on_conflict_do_nothing())


def start_trial(connection: sa.Connection, trial_id: int) -> bool:
    """Set a WAITING trial to RUNNING; return False when it was not waiting."""
    trials = tables.trials
    waiting = sa.update(trials).where(trials.c.trial_id == trial_id, trials.c.state == "WAITING")
    return connection.execute(waiting.values(state="RUNNING", datetime_start=_now())).rowcount == 1


def end_trial(connection: sa.Connection, trial_id: int, state: State, value: float | None = None) -> bool:
    """Set a RUNNING trial to `state`, with its value; return False when it was not running."""
    trials = tables.trials
    running = sa.update(trials).where(trials.c.trial_id == trial_id, trials.c.state == "RUNNING")
    if connection.execute(running.values(state=state, datetime_complete=_now())).rowcount != 1:
        return False
    if value is not None:
        kind = _kind(value)
        row = {"objective": 0, "value": value if kind == "FINITE" else None, "value_type": kind}
        upsert(connection, tables.trial_values, ("trial_id", "objective"), {"trial_id": trial_id, **row})
    return True


def enqueue_trial(
    connection: sa.Connection,
    study_id: int,
    number: int,
    fixed: Mapping[str, object],
    attrs: Mapping[str, object],
) -> None:
    """Store what Optuna's `enqueue_trial` stores. The caller locks the study's row, or a number is given twice."""
    row = {"study_id": study_id, "number": number, "state": "WAITING"}
    made = sa.insert(tables.trials).values(**row).returning(tables.trials.c.trial_id)
    trial_id = connection.execute(made).scalar_one()
    if fixed:
        text = json.dumps(dict(fixed))
        connection.execute(
            sa.insert(tables.trial_system_attrs).values(trial_id=trial_id, key="fixed_params", value_json=text)
        )
    set_trial_attrs(connection, trial_id, attrs)


def _finite(value: object) -> object:
    """`value` without NaN and infinity, which JSON lacks: one would keep the dashboard from reading the study."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _kind(value: float) -> str:
    if math.isinf(value):
        return "INF_POS" if value > 0 else "INF_NEG"
    return "FINITE"


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
