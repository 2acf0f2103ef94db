"""The storage that the dashboard reads: quick with a thousand trials, and without the records of evaluations.

Optuna's own storage reads the record of every evaluation as an object, and the dashboard searches the notes of all
trials once for each trial. Both take seconds with a thousand trials.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Container
from typing import Any

import sqlalchemy as sa
from optuna.storages import _CachedStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from foldrace.search.prior_store import KEYS
from foldrace.search.ranking import best_trial
from foldrace.search.study_store import IDENTITY, TOML
from foldrace.search.trial_reader import TrialReader, local_time
from foldrace.storage import tables
from foldrace.storage.database import Database

_TRIALS = tables.trials.c
MAX_DRAWN_TRIALS = 100  # the page draws a line for each trial's reports: a thousand take seconds, and show a smear
_NOTE = re.compile(r"dashboard:(\d{1,18}):note_(?:ver|str:\d+)")  # the keys of a trial's note in optuna-dashboard
_NOTES = "dashboard:%:note_%"  # the same for SQL's LIKE, which reads `_` as any character
STUDY_ROUTE = "/api/studies/<study_id:int>"


class DashboardStorage(_CachedStorage):
    """Optuna's storage of a database with quicker answers, for the dashboard alone."""

    def __init__(self, database: Database) -> None:
        cached = database.storage
        assert isinstance(cached, _CachedStorage)  # Optuna wraps every database in one
        super().__init__(cached._backend)
        self._database = database
        self._ended: dict[int, FrozenTrial] = {}  # by trial id; they are shared, and never changed
        self._reader = TrialReader(in_full=True)

    def get_all_studies(self) -> list[FrozenStudy]:
        """All studies by id, without the text of their files, and without the notes of their trials.

        `StudyDetailPlugin` puts those where they belong.
        """
        return self._database.read(_studies)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials by number, without the records of their evaluations. They are shared: never change one."""
        if not self._is_ours(study_id):
            return super().get_all_trials(study_id, deepcopy, states)
        trials = self._database.snapshot(lambda connection: self._read(connection, study_id))
        return [trial for trial in trials if states is None or trial.state in states]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best trial of a study; ValueError when there is none, with the words of Optuna's own storage."""
        if not self._is_ours(study_id):
            return super().get_best_trial(study_id)
        best = best_trial(self.get_all_trials(study_id))
        if best is None:
            raise ValueError("No trials are completed yet.")
        return best

    def _is_ours(self, study_id: int) -> bool:
        """Whether foldrace made the study; one of another program may minimise, or have several objectives."""
        attrs = tables.study_attrs.c
        query = sa.select(attrs.key).where(attrs.study_id == study_id, attrs.key.in_((IDENTITY, TOML)))
        directions = tables.study_directions.c
        order = sa.select(directions.direction).where(directions.study_id == study_id)

        def work(connection: sa.Connection) -> bool:
            is_alike = list(connection.execute(order).scalars()) == ["MAXIMIZE"]
            return is_alike and len(connection.execute(query).all()) == 2

        return self._database.read(work)

    def notes(self, study_id: int) -> dict[int, dict[str, Any]]:
        """The note of each trial that has one, by trial id, in the form that the dashboard's pages read."""
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
        read = self._reader.read(connection, new, _TRIALS.study_id == study_id)
        self._ended |= {i: trial for i, trial in read.items() if trial.state.is_finished()}
        trials = (read.get(row.trial_id) or self._ended[row.trial_id] for row in found)
        return sorted(trials, key=lambda trial: trial.number)

    def _is_known(self, row: Any) -> bool:
        # A database gives the ids of a deleted study out again, so the id alone does not say which trial it is.
        known = self._ended.get(row.trial_id)
        return known is not None and (known.number, known.datetime_complete) == (
            row.number,
            local_time(row.datetime_complete),
        )


class StudyDetailPlugin:
    """A plugin of Bottle that completes the dashboard's answer about a study.

    It adds the notes of the trials. It hides the reports of very many trials; the race shows the newest ones.
    """

    name, api = "foldrace-detail", 2

    def __init__(self, storage: DashboardStorage) -> None:
        self._storage = storage

    def apply(self, answer: Callable[..., Any], route: Any) -> Callable[..., Any]:
        if (route.method, route.rule) != ("GET", STUDY_ROUTE):
            return answer

        def completed(study_id: int) -> Any:
            detail = answer(study_id=study_id)
            if isinstance(detail, dict) and detail.get("trials"):
                self._complete(detail, study_id)
            return detail

        return completed

    def _complete(self, detail: dict[str, Any], study_id: int) -> None:
        notes = self._storage.notes(study_id)
        for trial in (*detail["trials"], *detail["best_trials"]):
            trial["note"] = notes.get(trial["trial_id"], trial["note"])
        if detail["trials"][-1]["number"] >= MAX_DRAWN_TRIALS:
            detail["has_intermediate_values"] = False


def _studies(connection: sa.Connection) -> list[FrozenStudy]:
    directions, system = tables.study_directions, tables.study_system_attrs
    order = directions.c.objective
    directed = connection.execute(sa.select(directions.c.study_id, directions.c.direction).order_by(order)).all()
    user_attrs = connection.execute(sa.select(tables.study_attrs)).all()
    system_attrs = connection.execute(
        sa.select(system).where(system.c.key.not_like(_NOTES), system.c.key.not_like(KEYS))
    ).all()
    return [
        FrozenStudy(
            study_name=study.study_name,
            direction=None,
            directions=[StudyDirection[d.direction] for d in directed if d.study_id == study.study_id],
            user_attrs={
                a.key: json.loads(a.value_json)
                for a in user_attrs
                if a.study_id == study.study_id and a.key not in (IDENTITY, TOML)
            },
            system_attrs={a.key: json.loads(a.value_json) for a in system_attrs if a.study_id == study.study_id},
            study_id=study.study_id,
        )
        for study in connection.execute(sa.select(tables.studies).order_by(tables.studies.c.study_id))
    ]


def _note(parts: dict[str, Any], trial_id: int) -> dict[str, Any]:
    text = f"dashboard:{trial_id}:note_str:"
    body = "".join(parts[f"{text}{i}"] for i in range(sum(key.startswith(text) for key in parts)))
    return {"version": parts.get(f"dashboard:{trial_id}:note_ver", 0), "body": body}
