"""What a study has tried so far, as its sampler sees it: read once, and kept.

Optuna's own storage reads all queued trials again for each draw. Nothing here writes.
"""

import copy
from collections.abc import Container, Sequence
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from foldrace.search.ranking import rank_trials
from foldrace.search.trial_reader import TrialReader
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.leases.lease import DONE, read_folds

_TRIALS = tables.trials.c
_SEEN = ("RUNNING", "COMPLETE", "PRUNED", "FAIL")  # one that waits has nothing to say
# Of the trials that ended, a draw is made from the newest and the best: TPE never takes more than 25 for the good ones,
# and its arithmetic over thousands of others takes long and tells it nothing more.
MOST_ENDED, MOST_GOOD = 500, 25


class History(InMemoryStorage):
    """The trials of one study that a draw is made from, as an Optuna storage that holds a study of them."""

    study_name = "history"

    def __init__(self, database: Database, study_id: int) -> None:
        super().__init__()
        self._database, self._study = database, study_id
        self._finished: dict[int, FrozenTrial] = {}  # by trial id, without the passed over
        self.trials: list[
            FrozenTrial
        ] = []  # of these and the running ones those that a draw is made from, and failed ones
        self.training: dict[int, frozenset[int]] = {}  # begun and not done, by the number of their trial
        self._aside: frozenset[int] = frozenset()  # the ids of trials that were put aside
        self._settled = -1  # every trial up to this id has ended
        self._reader = TrialReader(in_full=False)
        told = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of the study that is made here
        self.create_new_study([StudyDirection.MAXIMIZE], self.study_name)
        optuna.logging.set_verbosity(told)

    def refresh(self) -> None:
        """Read what is new."""
        self._database.read(self._read)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials that a draw is made from, by number: none that failed. They are shared: never change one.

        A trial that was put aside counts as pruned: Optuna's samplers would take one that runs for a bad one, or not
        look at it.
        """
        told = [trial for trial in self.trials if trial.state != TrialState.FAIL]
        trials = [_as_pruned(trial) if trial._trial_id in self._aside else trial for trial in told]
        return [trial for trial in trials if states is None or trial.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """TPE would tell the other workers of half a draw here; ours are stored whole, at once."""

    def _read(self, connection: sa.Connection) -> None:
        beyond = sa.and_(_TRIALS.study_id == self._study, _TRIALS.trial_id > self._settled)
        settled = self._settle(connection, beyond)  # first: what ends from here on is not passed over
        query = sa.select(tables.trials).where(beyond, _TRIALS.state.in_(_SEEN))
        begun = [row for row in connection.execute(query) if row.trial_id not in self._finished]
        trials = self._reader.read(connection, begun, beyond)
        self.trials = newest_and_best(
            sorted((self._finished | trials).values(), key=lambda trial: trial.number), MOST_ENDED
        )
        drawn_from = {trial._trial_id for trial in self.trials}
        ended = self._finished | {i: trial for i, trial in trials.items() if trial.state.is_finished()}
        # What was passed over will be so for ever; only one that would be read again has to be remembered.
        self._finished = {i: trial for i, trial in ended.items() if i in drawn_from or i > settled}
        self._settled = settled
        folds = read_folds(connection, self._study)
        self._aside = frozenset(trial_id for trial_id, states in folds.items() if set(states.values()) == {DONE})
        states = {trial.number: folds.get(trial._trial_id, {}) for trial in self.trials}
        trained = {number: frozenset(f for f, state in of.items() if state != DONE) for number, of in states.items()}
        self.training = {number: of for number, of in trained.items() if of}

    def _settle(self, connection: sa.Connection, beyond: sa.ColumnElement[bool]) -> int:
        """Up to which id every trial has ended by now."""
        unfinished = sa.func.min(_TRIALS.trial_id).filter(_TRIALS.state.in_(optuna_rows.UNFINISHED))
        first, last = connection.execute(sa.select(unfinished, sa.func.max(_TRIALS.trial_id)).where(beyond)).one()
        if first is not None:
            return int(first) - 1
        return self._settled if last is None else int(last)


def _as_pruned(trial: FrozenTrial) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state, shown.value = TrialState.PRUNED, next(iter(trial.intermediate_values.values()), None)
    return shown


def newest_and_best(trials: Sequence[FrozenTrial], most_ended: int) -> list[FrozenTrial]:
    """Of trials by number: all that run, the newest that ended, and of the older ones the best that are complete.

    Trial 0 stays: it may be the baseline, which others are compared with.
    """
    ended = [trial for trial in trials if trial.state.is_finished()]
    older, newer = ended[:-most_ended], ended[-most_ended:]
    running = [trial for trial in trials if not trial.state.is_finished()]
    first = (trial for trial in older if trial.number == 0)
    kept = (*first, *rank_trials(older)[:MOST_GOOD], *newer, *running)
    return [trial for _, trial in sorted({trial.number: trial for trial in kept}.items())]
