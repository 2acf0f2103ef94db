"""The table of a study's trials: a row each, in whatever state. Never imports optuna, pandas or torch."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from foldrace.search.monitor.columns import aligned
from foldrace.search.ranking import read_folds_aside
from foldrace.search.stored_knobs import read_knobs
from foldrace.search.study_store import read_study
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.optuna_rows import State
from foldrace.studies.knobs import Value

_TRIALS, _ATTRS = tables.trials.c, tables.trial_attrs.c
_VALUES, _REPORTS = tables.trial_values.c, tables.trial_intermediate_values.c


@dataclass(frozen=True)
class TrialRow:
    """One trial of a study.

    Attributes:
        score: the mean of its folds; of a trial that is not complete, the estimate after its last evaluation.
        folds: how many have been evaluated.
        knobs: those that the study searches, none while the trial waits; in a final job, the fold and its seed.
        reason: why it was pruned or failed, or that it is put aside; empty otherwise.
    """

    number: int
    state: State
    score: float | None
    folds: int
    knobs: dict[str, Value]
    reason: str


@dataclass(frozen=True)
class TrialTable:
    """The trials of a study, or those that `top` chose."""

    rows: tuple[TrialRow, ...]

    @property
    def knobs(self) -> list[str]:
        """The names of all knobs that a row has, in the order of the trials."""
        return list(dict.fromkeys(knob for row in self.rows for knob in row.knobs))

    def top(self, count: int) -> "TrialTable":
        """The best rows: complete trials by their score, then the others by theirs."""
        scored = [row for row in self.rows if row.score is not None]
        scored.sort(key=lambda row: (row.state != "COMPLETE", -(row.score or 0.0), row.number))
        return TrialTable(tuple(scored[:count]))

    def records(self) -> list[dict[str, Any]]:
        """The rows as plain values by column. A knob that a trial does not have is None."""
        return [
            {"number": row.number, "state": row.state, "score": row.score, "folds": row.folds}
            | {knob: row.knobs.get(knob) for knob in self.knobs}
            | {"reason": row.reason}
            for row in self.rows
        ]

    def columns(self) -> list[str]:
        return ["number", "state", "score", "folds", *self.knobs, "reason"]

    def to_csv(self) -> str:
        """The table with a header, every digit kept."""
        from foldrace.trainer.submission import table_csv  # numpy, which no other form of the table needs

        return table_csv(self.columns(), ([*record.values()] for record in self.records()))

    def __str__(self) -> str:
        """The table for people: aligned, numbers rounded."""
        cells = [self.columns(), *([_cell(value) for value in record.values()] for record in self.records())]
        return "\n".join(aligned(cells))


def read_trial_table(database: Database, name: str) -> TrialTable:
    """All trials of a study, or of a final job, by number, at one moment.

    Raises:
        StorageError: there is none of that name, or foldrace did not make it.
    """

    def work(connection: sa.Connection) -> TrialTable:
        stored = read_study(connection, name)
        study = stored.parse()
        of_study = _TRIALS.study_id == stored.study_id
        trials = sa.select(_TRIALS.trial_id, _TRIALS.number, _TRIALS.state).where(of_study).order_by(_TRIALS.number)
        reasons, aside = _reasons(connection, of_study), read_folds_aside(connection, stored.study_id)
        knobs = read_knobs(connection, of_study) if name == study.name else _final_folds(connection, of_study)
        is_scored = name == study.name or study.final.validation
        scores = _scores(connection, of_study) if is_scored else {}
        folds = _folds(connection, of_study, study.defaults.evaluations)
        return TrialTable(
            tuple(
                TrialRow(
                    n,
                    state,
                    scores.get(n),
                    folds.get(n, 0),
                    knobs.get(n, {}),
                    "put aside" if trial_id in aside else reasons.get(n, ""),
                )
                for trial_id, n, state in connection.execute(trials)
            )
        )

    return database.snapshot(work)


def _scores(connection: sa.Connection, trials: sa.ColumnElement[bool]) -> dict[int, float]:
    """The value of each trial that has a finite one; else its last report."""
    last = sa.select(_REPORTS.trial_id, sa.func.max(_REPORTS.step).label("step")).group_by(_REPORTS.trial_id).subquery()
    reports = sa.select(_TRIALS.number, _REPORTS.intermediate_value).join(
        tables.trial_intermediate_values, _REPORTS.trial_id == _TRIALS.trial_id
    )
    reports = reports.join(last, sa.and_(last.c.trial_id == _REPORTS.trial_id, last.c.step == _REPORTS.step))
    values = sa.select(_TRIALS.number, _VALUES.value).join(tables.trial_values, _VALUES.trial_id == _TRIALS.trial_id)
    found = dict(connection.execute(reports.where(trials, _REPORTS.intermediate_value_type == "FINITE")).all())
    return found | dict(connection.execute(values.where(trials, _VALUES.value_type == "FINITE")).all())


def _folds(connection: sa.Connection, trials: sa.ColumnElement[bool], per_fold: int) -> dict[int, int]:
    query = sa.select(_TRIALS.number, sa.func.count(sa.distinct(_REPORTS.step // per_fold)))
    query = query.join(tables.trial_intermediate_values, _REPORTS.trial_id == _TRIALS.trial_id)
    return dict(connection.execute(query.where(trials).group_by(_TRIALS.number)).all())


def _final_folds(connection: sa.Connection, trials: sa.ColumnElement[bool]) -> dict[int, dict[str, Value]]:
    query = sa.select(_TRIALS.number, _ATTRS.key, _ATTRS.value_json).order_by(_ATTRS.key.desc())
    query = query.join(tables.trial_attrs, _ATTRS.trial_id == _TRIALS.trial_id)
    found: dict[int, dict[str, Value]] = defaultdict(dict)
    for number, key, text in connection.execute(query.where(trials, _ATTRS.key.in_(("seed", "fold")))):
        found[number][key] = json.loads(text)
    return found


def _reasons(connection: sa.Connection, trials: sa.ColumnElement[bool]) -> dict[int, str]:
    query = sa.select(_TRIALS.number, _ATTRS.value_json).join(tables.trial_attrs, _ATTRS.trial_id == _TRIALS.trial_id)
    ended = query.where(trials, _ATTRS.key.in_((optuna_rows.REASON, optuna_rows.FAILURE)))
    return {number: str(json.loads(text)) for number, text in connection.execute(ended)}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
