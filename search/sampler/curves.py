"""The curves of the trials that a sample is made from, read in plain queries; those of trials that ended are kept."""

import copy
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from optuna.trial import FrozenTrial

from foldrace.search.race.learning_curves import LearningCurves, read_learning_curves
from foldrace.storage import tables
from foldrace.storage.database import Database

_Stored = tuple[dict[str, Any], dict[str, str]]  # the knobs of a trial, and its attributes
_ATTRS = tables.trial_attrs.c
_AT_ONCE = 500  # trials of one query


class CurveReader(Protocol):
    """Where the learning curves of trials are."""

    def read(self, trials: Sequence[FrozenTrial]) -> list[LearningCurves]:
        """The curves of each of the trials; a trial that ended never changes."""


class StoredCurves:
    """The curves of a study's trials in its database.

    Args:
        folds: of every trial.
        evaluations: points at which a fold is judged.
    """

    def __init__(self, database: Database, folds: int, evaluations: int) -> None:
        self._database, self._folds, self._evaluations = database, folds, evaluations
        self._ended: dict[int, LearningCurves] = {}  # by trial id
        self._running: dict[int, tuple[_Stored, LearningCurves]] = {}  # and what they were read from

    def read(self, trials: Sequence[FrozenTrial]) -> list[LearningCurves]:
        """The curves of each of the trials, which need no attributes."""
        unread = [trial for trial in trials if trial._trial_id not in self._ended]
        ids = [trial._trial_id for trial in unread]
        stored = self._database.read(lambda connection: _attributes(connection, ids))
        self._running = {i: self._read_again(trial, stored[i]) for i, trial in zip(ids, unread, strict=True)}
        read = {i: curves for i, (_, curves) in self._running.items()}
        found = [self._ended.get(trial._trial_id) or read[trial._trial_id] for trial in trials]
        kept = self._ended | read
        # A trial that others were preferred to will not be asked for again.
        self._ended = {trial._trial_id: kept[trial._trial_id] for trial in trials if trial.state.is_finished()}
        return found

    def _read_again(self, trial: FrozenTrial, attributes: dict[str, str]) -> tuple[_Stored, LearningCurves]:
        """The same object while nothing is added: a trial that is put aside runs for as long as the search."""
        stored, known = (trial.params, attributes), self._running.get(trial._trial_id)
        if known is not None and known[0] == stored:
            return known
        trial = copy.copy(trial)
        trial.user_attrs = attributes
        return stored, read_learning_curves(trial, self._folds, self._evaluations)


def _attributes(connection: sa.Connection, ids: Sequence[int]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = defaultdict(dict)
    query = sa.select(_ATTRS.trial_id, _ATTRS.key, _ATTRS.value_json).where(_ATTRS.key.like("fold%/eval%"))
    for start in range(0, len(ids), _AT_ONCE):
        for trial_id, key, text in connection.execute(query.where(_ATTRS.trial_id.in_(ids[start : start + _AT_ONCE]))):
            found[trial_id][key] = text
    return found
