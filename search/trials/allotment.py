"""Reads how a search stands, and ranks the folds that may be trained next. It writes nothing and takes no lock."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import sqlalchemy as sa

from foldrace.search.compute import read_compute
from foldrace.search.ending import read_outlooks
from foldrace.search.race.allocation import Begun, Standing, rank_cells
from foldrace.search.race.knowledge_gradient import JointLevels
from foldrace.search.race.learning_curves import read_bests
from foldrace.search.race.space import make_search_space
from foldrace.search.sampler.sampling import Sampler
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.leases.lease import DONE, read_folds
from foldrace.storage.leases.taking import Cell
from foldrace.storage.tables import FIRST
from foldrace.studies.study import Study

_TRIALS, _ATTRS, _SYSTEM_ATTRS = tables.trials.c, tables.trial_attrs.c, tables.trial_system_attrs.c


@dataclass(frozen=True)
class _Seen:
    """What one look at the database gives: of each fold that was begun whether it is done; `ended` counts trials."""

    begun: tuple[Begun, ...]
    complete: frozenset[int]
    folds: frozenset[tuple[int, int, bool]]
    ended: int
    rise: float | None
    waits: bool
    finals: int
    reached: frozenset[int]


class Allotment:
    """The folds of one search, as one worker ranks them; what is believed is computed anew when one began or ended."""

    def __init__(self, database: Database, study_id: int, study: Study, sampler: Sampler) -> None:
        self._database, self._study_id, self._study = database, study_id, study
        self._sampler, self._space = sampler, make_search_space(study.searched)
        self._believed_at: object = None
        self._levels = JointLevels.nothing()
        self._fold_variance = 0.0

    def rank(self, begins: bool) -> list[Cell]:
        """The folds to train, the most promising first.

        Args:
            begins: whether trials that wait are begun.
        """
        seen = self._database.read(self._look)
        self._believe(seen)
        return rank_cells(
            Standing(
                seen.begun,
                self._levels,
                seen.complete,
                self._fold_variance,
                seen.rise,
                seen.waits and begins,
                seen.finals,
                seen.reached,
            )
        )

    def _believe(self, seen: _Seen) -> None:
        stands_at = seen.folds, seen.ended
        if self._believed_at == stands_at:
            return
        posterior = self._sampler.believe(self._space)
        if posterior is not None:
            self._levels, self._fold_variance = posterior.levels(), posterior.noise
        self._believed_at = stands_at

    def _look(self, connection: sa.Connection) -> _Seen:
        folds = read_folds(connection, self._study_id)
        trials = read_compute(connection, self._study_id, self._study)
        states = {trial.number: folds.get(trial.trial_id, {}) for trial in trials}
        given = _given(connection, self._study_id)
        outlook = next(iter(read_outlooks(connection, self._study_id)), None)
        return _Seen(
            tuple(
                Begun(
                    trial.trial_id,
                    trial.number,
                    trial.epochs,
                    _open_folds(states[trial.number], self._study.folds.count),
                    states[trial.number].get(FIRST) == DONE,
                    trial.trial_id in given,
                )
                for trial in trials
                if trial.state == "RUNNING"
            ),
            frozenset(trial.number for trial in trials if trial.state == "COMPLETE"),
            frozenset((number, fold, state == DONE) for number, of in states.items() for fold, state in of.items()),
            sum(trial.state in optuna_rows.ENDED for trial in trials),
            None if outlook is None else outlook.fold_rise,
            any(trial.state == "WAITING" for trial in trials),
            self._study.search.finals - optuna_rows.count_finals(connection, self._study_id),
            _reached(connection, self._study_id, self._study),
        )


def _open_folds(states: Mapping[int, str], folds: int) -> tuple[int, ...]:
    """Those that are not begun; none before the trial has raced in its first one."""
    return tuple(fold for fold in range(folds) if fold not in states) if states.get(FIRST) == DONE else ()


def _given(connection: sa.Connection, study_id: int) -> set[int]:
    """The ids of the trials whose values were given, and that do not race."""
    of_study = sa.select(_TRIALS.trial_id).where(_TRIALS.study_id == study_id, _TRIALS.state == "RUNNING")
    races = sa.select(_ATTRS.trial_id).where(_ATTRS.key == optuna_rows.RACES)
    query = sa.select(_SYSTEM_ATTRS.trial_id).where(_SYSTEM_ATTRS.key == "fixed_params")
    query = query.where(_SYSTEM_ATTRS.trial_id.in_(of_study), _SYSTEM_ATTRS.trial_id.not_in(races))
    return set(connection.execute(query).scalars())


def _reached(connection: sa.Connection, study_id: int, study: Study) -> frozenset[int]:
    """The numbers of the running trials whose trained folds have the target of the search, on average."""
    target, last = study.search.target, study.defaults.evaluations - 1
    if target is None:
        return frozenset()
    query = sa.select(_TRIALS.number, _ATTRS.key, _ATTRS.value_json)
    query = query.join(tables.trials, _TRIALS.trial_id == _ATTRS.trial_id)
    ends = [optuna_rows.cell_key(fold, last) for fold in range(study.folds.count)]
    query = query.where(_TRIALS.study_id == study_id, _TRIALS.state == "RUNNING", _ATTRS.key.in_(ends))
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for number, key, text in connection.execute(query):
        found[number][key] = text
    bests = {number: list(read_bests(attrs).values()) for number, attrs in found.items()}
    return frozenset(number for number, folds in bests.items() if folds and fmean(folds) >= target)
