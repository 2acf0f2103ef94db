"""What the dashboard sees of a database: Optuna's storage, but quick with a thousand trials, and without what only
pruners read.

Optuna's storage reads each attribute of each trial as an object, the record of every evaluation among them; and the
dashboard looks for a trial's note among the notes of all trials, for every trial. Both take seconds here.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Container, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import _CachedStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from foldrace.search.ranking import best_trial
from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.optuna_rows import CELLS

_TRIALS = tables.trials.c
MOST_CURVES = (
    100  # trials: the page draws a line for each one's reports, needs seconds for a thousand, and shows a smear
)
_FEW = 500  # fewer trials than this are asked for one by one
_NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
_NOTE = re.compile(r"dashboard:(\d+):note_(?:ver|str:\d+)")  # the names that optuna-dashboard gives a trial's note
_NOTES = "dashboard:%:note_%"  # the same for SQL's LIKE, which reads `_` as any character
_DETAIL = "/api/studies/<study_id:int>"

Rows = dict[int, list[Any]]  # by trial id


class DashboardStorage(_CachedStorage):
    """Optuna's storage of a database, for the dashboard alone, with its slow answers given in another way."""

    def __init__(self, database: Database) -> None:
        cached = database.storage
        assert isinstance(cached, _CachedStorage)  # what Optuna makes of a database
        super().__init__(cached._backend)
        self._database = database
        self._ended: dict[int, FrozenTrial] = {}  # by trial id; shared, never changed
        self._distributions: dict[str, BaseDistribution] = {}

    def get_all_studies(self) -> list[FrozenStudy]:
        """All studies by id, without the notes of their trials: `StudyDetailPlugin` puts those where they belong."""
        return self._database.read(_studies)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials by number, without the records of their evaluations. They are shared: never change one."""
        trials = self._database.read(lambda connection: self._read(connection, study_id))
        return [trial for trial in trials if states is None or trial.state in states]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best trial of a study; ValueError when there is none, with the words of Optuna's own storage."""
        best = best_trial(self.get_all_trials(study_id))
        if best is None:
            raise ValueError("No trials are completed yet.")
        return best

    def notes(self, study_id: int) -> dict[int, dict[str, Any]]:
        """The note of each trial that has one, by trial id, as the dashboard's pages want it."""
        attrs = tables.study_system_attrs.c
        query = sa.select(attrs.key, attrs.value_json).where(attrs.study_id == study_id, attrs.key.like(_NOTES))
        parts: dict[int, dict[str, Any]] = defaultdict(dict)
        for key, text in self._database.read(lambda connection: connection.execute(query).all()):
            if (match := _NOTE.fullmatch(key)) is not None:
                parts[int(match[1])][key] = json.loads(text)
        return {trial_id: _note(found, trial_id) for trial_id, found in parts.items()}

    def _read(self, connection: sa.Connection, study_id: int) -> list[FrozenTrial]:
        found = connection.execute(sa.select(tables.trials).where(_TRIALS.study_id == study_id)).all()
        new = [row for row in found if not self._is_known(row)]
        read = self._frozen(connection, new, study_id) if new else {}
        self._ended |= {i: trial for i, trial in read.items() if trial.state.is_finished()}
        trials = (read.get(row.trial_id) or self._ended[row.trial_id] for row in found)
        return sorted(trials, key=lambda trial: trial.number)

    def _is_known(self, row: Any) -> bool:
        # A database gives the ids of a deleted study out again, so the id alone does not say which trial it is.
        known = self._ended.get(row.trial_id)
        return known is not None and (known.number, known.datetime_complete) == (
            row.number,
            _local(row.datetime_complete),
        )

    def _frozen(self, connection: sa.Connection, found: Sequence[Any], study_id: int) -> dict[int, FrozenTrial]:
        ids = [row.trial_id for row in found]
        where = _TRIALS.trial_id.in_(ids) if len(ids) < _FEW else _TRIALS.study_id == study_id
        parts = [
            _rows(connection, table, where)
            for table in (tables.trial_params, tables.trial_values, tables.trial_system_attrs)
        ]
        reports = _rows(connection, tables.trial_intermediate_values, where)
        attrs = tables.trial_attrs
        no_cell = sa.and_(where, attrs.c.key.not_like(CELLS))
        said = _rows(connection, attrs, no_cell)
        return {
            row.trial_id: self._one(row, *(part[row.trial_id] for part in (*parts, reports, said))) for row in found
        }

    def _one(self, row: Any, params: Any, values: Any, system: Any, reports: Any, said: Any) -> FrozenTrial:
        kinds = {p.param_name: self._distribution(p.distribution_json) for p in params}
        value = next((_NOT_FINITE.get(v.value_type, v.value) for v in values), None)
        return FrozenTrial(
            number=row.number,
            state=TrialState[row.state],
            value=value,
            datetime_start=_local(row.datetime_start),
            datetime_complete=_local(row.datetime_complete),
            params={p.param_name: kinds[p.param_name].to_external_repr(p.param_value) for p in params},
            distributions=kinds,
            user_attrs={a.key: json.loads(a.value_json) for a in said},
            system_attrs={a.key: json.loads(a.value_json) for a in system},
            intermediate_values={
                r.step: _NOT_FINITE.get(r.intermediate_value_type, r.intermediate_value) for r in reports
            },
            trial_id=row.trial_id,
        )

    def _distribution(self, text: str) -> BaseDistribution:
        if text not in self._distributions:
            self._distributions[text] = json_to_distribution(text)
        return self._distributions[text]


def _local(stored: datetime | None) -> datetime | None:
    """A time that was stored in UTC, as Optuna reads it: in the time zone of this machine."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


class StudyDetailPlugin:
    """A plugin of Bottle that mends what the dashboard answers about a study: it puts the trials' notes in, and has no
    picture drawn of the reports of very many trials (the race shows the newest ones)."""

    name, api = "foldrace-detail", 2

    def __init__(self, storage: DashboardStorage) -> None:
        self._storage = storage

    def apply(self, answer: Callable[..., Any], route: Any) -> Callable[..., Any]:
        if (route.method, route.rule) != ("GET", _DETAIL):
            return answer

        def mended(study_id: int) -> Any:
            detail = answer(study_id=study_id)
            if isinstance(detail, dict) and detail.get("trials"):
                self._mend(detail, study_id)
            return detail

        return mended

    def _mend(self, detail: dict[str, Any], study_id: int) -> None:
        notes = self._storage.notes(study_id)
        for trial in (*detail["trials"], *detail["best_trials"]):
            trial["note"] = notes.get(trial["trial_id"], trial["note"])
        if detail["trials"][-1]["number"] >= MOST_CURVES:
            detail["has_intermediate_values"] = False


def _studies(connection: sa.Connection) -> list[FrozenStudy]:
    directions, system = tables.study_directions, tables.study_system_attrs
    directed = connection.execute(sa.select(directions.c.study_id, directions.c.direction)).all()
    said = connection.execute(sa.select(tables.study_attrs)).all()
    told = connection.execute(sa.select(system).where(system.c.key.not_like(_NOTES))).all()
    return [
        FrozenStudy(
            study_name=study.study_name,
            direction=None,
            directions=[StudyDirection[d.direction] for d in directed if d.study_id == study.study_id],
            user_attrs={a.key: json.loads(a.value_json) for a in said if a.study_id == study.study_id},
            system_attrs={a.key: json.loads(a.value_json) for a in told if a.study_id == study.study_id},
            study_id=study.study_id,
        )
        for study in connection.execute(sa.select(tables.studies).order_by(tables.studies.c.study_id))
    ]


def _rows(connection: sa.Connection, table: sa.Table, where: "sa.ColumnElement[bool]") -> Rows:
    """The rows of a table that belong to some trials, by trial."""
    found: Rows = defaultdict(list)
    query = sa.select(table).join(tables.trials, _TRIALS.trial_id == table.c.trial_id).where(where)
    for row in connection.execute(query):
        found[row.trial_id].append(row)
    return found


def _note(parts: dict[str, Any], trial_id: int) -> dict[str, Any]:
    text = f"dashboard:{trial_id}:note_str:"
    body = "".join(parts[f"{text}{i}"] for i in range(sum(key.startswith(text) for key in parts)))
    return {"version": parts.get(f"dashboard:{trial_id}:note_ver", 0), "body": body}
