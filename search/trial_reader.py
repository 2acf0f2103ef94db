"""Reads Optuna's tables into Optuna's trials: in a few plain queries, and without the records of evaluations.

Optuna's own storage reads every attribute of every trial as an object: with thousands of trials that takes seconds.
"""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from foldrace.storage import tables
from foldrace.storage.optuna_rows import CELLS

_TRIALS, _PARAMS, _VALUES = tables.trials.c, tables.trial_params.c, tables.trial_values.c
_REPORTS, _ATTRS = tables.trial_intermediate_values.c, tables.trial_attrs.c
_NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
_FEW = 500  # fewer trials than this are selected by their ids

Condition = sa.ColumnElement[bool]


@dataclass
class _Parts:
    """What the tables beside that of the trials hold of one trial."""

    params: dict[str, Any] = field(default_factory=dict)
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    value: float | None = None
    reports: dict[int, float] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)


class TrialReader:
    """Reads trials; each distribution is parsed once.

    Args:
        in_full: with attributes and every report. Else without attributes, and of the reports only the last one of each
            trial that is pruned or runs: a sampler looks at nothing more.
    """

    def __init__(self, *, in_full: bool) -> None:
        self._in_full = in_full
        self._distributions: dict[str, BaseDistribution] = {}

    def read(
        self, connection: sa.Connection, rows: Sequence["sa.Row[Any]"], among: Condition
    ) -> dict[int, FrozenTrial]:
        """The trials of some rows of the table of trials, by trial id.

        Args:
            among: a condition that all these trials meet. Many trials are selected by it, few by their ids.
        """
        if not rows:
            return {}
        where = _TRIALS.trial_id.in_([row.trial_id for row in rows]) if len(rows) < _FEW else among
        parts: dict[int, _Parts] = defaultdict(_Parts)
        self._read_params(connection, where, parts)
        _read_values(connection, where, parts)
        _read_reports(connection, where if self._in_full else _last_report(where), parts)
        if self._in_full:
            _read_attrs(connection, where, parts)
        return {row.trial_id: _frozen(row, parts[row.trial_id]) for row in rows}

    def _read_params(self, connection: sa.Connection, where: Condition, parts: dict[int, _Parts]) -> None:
        for row in connection.execute(_select(tables.trial_params, where)):
            distribution, part = self._distribution(row.distribution_json), parts[row.trial_id]
            part.params[row.param_name] = distribution.to_external_repr(row.param_value)
            part.distributions[row.param_name] = distribution

    def _distribution(self, text: str) -> BaseDistribution:
        if text not in self._distributions:
            self._distributions[text] = json_to_distribution(text)
        return self._distributions[text]


def _read_values(connection: sa.Connection, where: Condition, parts: dict[int, _Parts]) -> None:
    for row in connection.execute(_select(tables.trial_values, where)):
        parts[row.trial_id].value = _NOT_FINITE.get(row.value_type, row.value)


def _read_reports(connection: sa.Connection, where: Condition, parts: dict[int, _Parts]) -> None:
    for row in connection.execute(_select(tables.trial_intermediate_values, where)):
        value = _NOT_FINITE.get(row.intermediate_value_type, row.intermediate_value)
        parts[row.trial_id].reports[row.step] = value


def _last_report(where: Condition) -> Condition:
    """The condition for the last report of each trial that is pruned or runs."""
    last = sa.select(_REPORTS.trial_id, sa.func.max(_REPORTS.step)).join(
        tables.trials, _TRIALS.trial_id == _REPORTS.trial_id
    )
    last = last.where(where, _TRIALS.state.in_(("PRUNED", "RUNNING"))).group_by(_REPORTS.trial_id)
    return sa.tuple_(_REPORTS.trial_id, _REPORTS.step).in_(last)


def _read_attrs(connection: sa.Connection, where: Condition, parts: dict[int, _Parts]) -> None:
    for row in connection.execute(_select(tables.trial_attrs, sa.and_(where, _ATTRS.key.not_like(CELLS)))):
        parts[row.trial_id].user_attrs[row.key] = json.loads(row.value_json)
    for row in connection.execute(_select(tables.trial_system_attrs, where)):
        parts[row.trial_id].system_attrs[row.key] = json.loads(row.value_json)


def _select(table: sa.Table, where: Condition) -> "sa.Select[Any]":
    """The rows of a table that belong to the trials for which a condition holds."""
    return sa.select(table).join(tables.trials, _TRIALS.trial_id == table.c.trial_id).where(where)


def _frozen(row: "sa.Row[Any]", parts: _Parts) -> FrozenTrial:
    return FrozenTrial(
        number=row.number,
        state=TrialState[row.state],
        value=parts.value,
        datetime_start=local_time(row.datetime_start),
        datetime_complete=local_time(row.datetime_complete),
        params=parts.params,
        distributions=parts.distributions,
        user_attrs=parts.user_attrs,
        system_attrs=parts.system_attrs,
        intermediate_values=parts.reports,
        trial_id=row.trial_id,
    )


def local_time(stored: datetime | None) -> datetime | None:
    """A time that is stored in UTC, as Optuna gives it: in the time zone of this machine, without saying so."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
