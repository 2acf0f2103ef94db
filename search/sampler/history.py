"""What a study has tried so far, as its sampler sees it: read in a few plain queries, and kept.

Optuna's own storage reads every attribute of every trial, and reads all queued ones again for each draw; with 10,000
trials that takes seconds. A sampler needs parameters, values and states only. Nothing here writes.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Container, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database

_TRIALS, _PARAMS = tables.trials.c, tables.trial_params.c
_VALUES, _REPORTS = tables.trial_values.c, tables.trial_intermediate_values.c
_NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
_SEEN = ("RUNNING", "COMPLETE", "PRUNED")  # one that failed says nothing, one that waits has nothing to say
_FEW = 500  # fewer trials than this are asked for one by one
# Of the trials that ended, a draw is made from the newest and the best: TPE never takes more than 25 for the good ones,
# and its arithmetic over thousands of others takes long and tells it nothing more.
MOST_ENDED, MOST_GOOD = 500, 25
_SOME_TIME = datetime(2000, 1, 1)  # Optuna wants a trial to have times; no sampler looks at them

Params = dict[str, tuple[Any, BaseDistribution]]


class History(InMemoryStorage):
    """The trials of one study that a draw is made from, as an Optuna storage that holds a study of them."""

    study_name = "history"

    def __init__(self, database: Database, study_id: int) -> None:
        super().__init__()
        self._database, self._study = database, study_id
        self._finished: dict[int, FrozenTrial] = {}  # by trial id, without the passed over
        self._trials: list[FrozenTrial] = []  # of these and the running ones those that a draw is made from
        self._settled = -1  # every trial up to this id has ended
        self._distributions: dict[str, BaseDistribution] = {}
        self.create_new_study([StudyDirection.MAXIMIZE], self.study_name)

    def refresh(self) -> None:
        """Read what is new."""
        self._database.read(self._read)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials that a draw is made from, by number: none that failed. They are shared: never change one."""
        return [trial for trial in self._trials if states is None or trial.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """TPE would tell the other workers of half a draw here; ours are stored whole, at once."""

    def _read(self, connection: sa.Connection) -> None:
        beyond = sa.and_(_TRIALS.study_id == self._study, _TRIALS.trial_id > self._settled)
        settled = self._settle(connection, beyond)  # first: what ends from here on is not passed over
        query = sa.select(_TRIALS.trial_id, _TRIALS.number, _TRIALS.state).where(beyond, _TRIALS.state.in_(_SEEN))
        begun = [row for row in connection.execute(query).all() if row.trial_id not in self._finished]
        ids = [row.trial_id for row in begun]
        where = _TRIALS.trial_id.in_(ids) if len(ids) < _FEW else beyond
        params = self._params(connection, where)
        values = _values(connection, where)
        reports = _last_reports(connection, where)
        trials = {
            r.trial_id: _frozen(r, params[r.trial_id], values.get(r.trial_id), reports.get(r.trial_id)) for r in begun
        }
        self._trials = _drawn_from(sorted((self._finished | trials).values(), key=lambda trial: trial.number))
        drawn_from = {trial._trial_id for trial in self._trials}
        ended = self._finished | {i: trial for i, trial in trials.items() if trial.state.is_finished()}
        # What was passed over will be so for ever; only one that would be read again has to be remembered.
        self._finished = {i: trial for i, trial in ended.items() if i in drawn_from or i > settled}
        self._settled = settled

    def _settle(self, connection: sa.Connection, beyond: sa.ColumnElement[bool]) -> int:
        """Up to which id every trial has ended by now."""
        unfinished = sa.func.min(_TRIALS.trial_id).filter(_TRIALS.state.in_(optuna_rows.UNFINISHED))
        first, last = connection.execute(sa.select(unfinished, sa.func.max(_TRIALS.trial_id)).where(beyond)).one()
        if first is not None:
            return int(first) - 1
        return self._settled if last is None else int(last)

    def _params(self, connection: sa.Connection, where: sa.ColumnElement[bool]) -> dict[int, Params]:
        query = sa.select(_PARAMS.trial_id, _PARAMS.param_name, _PARAMS.param_value, _PARAMS.distribution_json)
        params: dict[int, Params] = defaultdict(dict)
        for trial_id, name, value, text in connection.execute(_of_trials(query, _PARAMS.trial_id, where)).all():
            distribution = self._distribution(text)
            params[trial_id][name] = distribution.to_external_repr(value), distribution
        return params

    def _distribution(self, text: str) -> BaseDistribution:
        if text not in self._distributions:
            self._distributions[text] = json_to_distribution(text)
        return self._distributions[text]


def _drawn_from(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Of trials by number: all that run, the newest that ended, and of the older ones the best that are complete."""
    ended = [trial for trial in trials if trial.state.is_finished()]
    older, newer = ended[:-MOST_ENDED], ended[-MOST_ENDED:]
    complete = (trial for trial in older if trial.state == TrialState.COMPLETE)
    good = heapq.nlargest(MOST_GOOD, complete, key=lambda trial: (trial.value, -trial.number))
    running = [trial for trial in trials if not trial.state.is_finished()]
    return sorted((*good, *newer, *running), key=lambda trial: trial.number)


def _values(connection: sa.Connection, where: sa.ColumnElement[bool]) -> dict[int, float]:
    query = sa.select(_VALUES.trial_id, _VALUES.value, _VALUES.value_type)
    found = connection.execute(_of_trials(query, _VALUES.trial_id, where))
    return {trial_id: _NOT_FINITE.get(kind, value) for trial_id, value, kind in found}


def _last_reports(connection: sa.Connection, where: sa.ColumnElement[bool]) -> dict[int, tuple[int, float]]:
    """Step and value of the last report of each pruned trial: TPE ranks those by nothing else."""
    pruned = sa.and_(where, _TRIALS.state == "PRUNED")
    steps = _of_trials(
        sa.select(_REPORTS.trial_id, sa.func.max(_REPORTS.step).label("step")), _REPORTS.trial_id, pruned
    )
    last = steps.group_by(_REPORTS.trial_id).subquery()
    same = sa.and_(last.c.trial_id == _REPORTS.trial_id, last.c.step == _REPORTS.step)
    kind = _REPORTS.intermediate_value_type
    query = sa.select(_REPORTS.trial_id, _REPORTS.step, _REPORTS.intermediate_value, kind).join(last, same)
    return {i: (step, _NOT_FINITE.get(kind, value)) for i, step, value, kind in connection.execute(query)}


def _of_trials(query: "sa.Select[Any]", trial_id: "sa.Column[Any]", where: sa.ColumnElement[bool]) -> "sa.Select[Any]":
    return query.join(tables.trials, _TRIALS.trial_id == trial_id).where(where)


def _frozen(row: Any, params: Params, value: float | None, report: tuple[int, float] | None) -> FrozenTrial:
    return FrozenTrial(
        number=row.number,
        state=TrialState[row.state],
        value=value,
        datetime_start=_SOME_TIME,
        datetime_complete=None if row.state == "RUNNING" else _SOME_TIME,
        params={name: value for name, (value, _) in params.items()},
        distributions={name: distribution for name, (_, distribution) in params.items()},
        user_attrs={},
        system_attrs={},
        intermediate_values={} if report is None else dict([report]),
        trial_id=row.trial_id,
    )
