"""Notes and figures in the form in which optuna-dashboard reads them from a study's attributes.

Its own functions write the same in several transactions, and its package brings scikit-learn in: a second and a half
of every worker's start. Tests read what is written here with the package's own functions.
"""

import json
from collections.abc import Mapping

import sqlalchemy as sa

from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database

_ATTRS = tables.study_system_attrs


def write_note(database: Database, study_id: int, text: str, trial_id: int | None = None) -> None:
    """Store the Markdown of the note of a study, or of a trial; one that is there is replaced."""

    def work(connection: sa.Connection) -> None:
        key = f"{_of(trial_id)}note_ver"
        version = _read(connection, study_id, key).get(key, 0)
        _write(connection, study_id, {key: int(str(version)) + 1})
        _write_parts(connection, study_id, f"{_of(trial_id)}note_str:", text)

    database.transact(work)


def read_note(database: Database, study_id: int) -> str:
    """The Markdown of the note of a study."""
    prefix = f"{_of(None)}note_str:"
    parts = database.read(lambda connection: _read(connection, study_id, prefix))
    return "".join(str(parts[f"{prefix}{i}"]) for i in range(len(parts)))


def write_figures(database: Database, study_id: int, figures: Mapping[str, str]) -> None:
    """Store the figures of a study's page, each as plotly's JSON, by their names."""

    def work(connection: sa.Connection) -> None:
        for name, text in figures.items():
            _write_parts(connection, study_id, f"dashboard:plot_data:{name}:", text)

    database.transact(work)


def _of(trial_id: int | None) -> str:
    return "dashboard:" if trial_id is None else f"dashboard:{trial_id}:"


def _write_parts(connection: sa.Connection, study_id: int, prefix: str, text: str) -> None:
    """Store a text as the first of its parts. Others may have left more, as the dashboard cuts a text in parts."""
    left = dict.fromkeys(_read(connection, study_id, prefix), "")
    _write(connection, study_id, left | {f"{prefix}0": text})


def _read(connection: sa.Connection, study_id: int, prefix: str) -> dict[str, object]:
    """The attributes whose keys begin so."""
    query = sa.select(_ATTRS.c.key, _ATTRS.c.value_json).where(_ATTRS.c.study_id == study_id)
    found = connection.execute(query.where(_ATTRS.c.key.startswith(prefix, autoescape=True)))
    return {key: json.loads(text) for key, text in found}


def _write(connection: sa.Connection, study_id: int, values: Mapping[str, object]) -> None:
    for key, value in values.items():
        row = {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
        optuna_rows.upsert(connection, _ATTRS, ("study_id", "key"), row)
