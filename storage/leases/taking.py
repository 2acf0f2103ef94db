"""One attempt of a worker to come to a lease, inside a transaction: by a token that nobody else has."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from foldrace.storage import optuna_rows, tables, workers
from foldrace.storage.leases.lease import DONE, OWNED, Lease, delete_rows

MAX_FRUITLESS = 3  # attempts in a row without a new checkpoint or evaluation; then the trial fails
_LEASES = tables.leases.c


@dataclass(frozen=True)
class Cell:
    """A fold to train, from 0, or WHOLE: of a trial, or of the first one that waits.

    Attributes:
        is_final: it is one of those that the finalists get once no trial waits.
    """

    trial_id: int | None
    fold: int
    is_final: bool = False


WAITING = Cell(None, tables.WHOLE)


@dataclass(frozen=True)
class Taker:
    """A worker that takes a lease of a study by `token`; `finals`: how many folds the finalists may get in all."""

    study_id: int
    owner: str
    token: str
    finals: int = 0

    def taken(self, connection: sa.Connection) -> Lease | None:
        """What an earlier try has leased, whose commit had arrived when the connection dropped."""
        row = connection.execute(sa.select(tables.leases).where(_LEASES.token == self.token)).first()
        return None if row is None else Lease(self.study_id, row.trial_id, self.token, row.attempt, row.fold)

    def adopt(self, connection: sa.Connection, dead: set[str]) -> Lease | None:
        """The first orphan that is free. Those that failed too often, or whose trial has ended, are cleared away."""
        free = sa.or_(_LEASES.state.not_in((*OWNED, DONE)), _LEASES.token.in_(dead))
        orphans = sa.select(tables.leases).where(_LEASES.study_id == self.study_id, free)
        orphans = orphans.order_by(_LEASES.trial_id, _LEASES.fold)
        for orphan in connection.execute(orphans).all():
            lease = self._adopt_one(connection, orphan)
            if lease is not None:
                return lease
        return None

    def _adopt_one(self, connection: sa.Connection, orphan: Any) -> Lease | None:
        same = sa.and_(_LEASES.token == orphan.token, _LEASES.counter == orphan.counter)
        # Another worker that has locked the row is adopting or renewing it: to wait for it would be in vain.
        if connection.execute(sa.select(_LEASES.token).where(same).with_for_update(skip_locked=True)).first() is None:
            return None
        fruitless = 0 if orphan.progressed else orphan.fruitless + (orphan.state not in ("released", "claiming"))
        if fruitless >= MAX_FRUITLESS:
            _fail(connection, orphan)
        if fruitless >= MAX_FRUITLESS or optuna_rows.read_trial_state(connection, orphan.trial_id) != "RUNNING":
            connection.execute(sa.delete(tables.leases).where(same))
            return None
        changed = {"owner": self.owner, "token": self.token, "counter": 0, "state": "claiming", "progressed": False}
        changed |= {"attempt": orphan.attempt + 1, "fruitless": fruitless, "note": None}
        connection.execute(sa.update(tables.leases).where(same).values(**changed))
        return Lease(self.study_id, orphan.trial_id, self.token, orphan.attempt + 1, orphan.fold)

    def take(self, connection: sa.Connection, cell: Cell) -> Lease | None:
        """A fold that nobody has begun; None: somebody was faster, its trial has ended, or all finals are taken."""
        if cell.trial_id is None:
            return self._take_waiting(connection, cell.fold)
        if cell.is_final and not self._may_take_final(connection):
            return None
        trials = tables.trials.c
        running = sa.select(trials.trial_id).where(trials.trial_id == cell.trial_id, trials.state == "RUNNING")
        if connection.execute(running.with_for_update()).first() is None:  # nobody ends it at this moment
            return None
        made = optuna_rows.dialect_insert(connection, tables.leases).values(self._row(cell.trial_id, cell.fold))
        if connection.execute(made.on_conflict_do_nothing().returning(_LEASES.fold)).scalar() is None:
            return None
        if cell.is_final:
            optuna_rows.set_trial_attrs(connection, cell.trial_id, {optuna_rows.final_key(cell.fold): True})
        return Lease(self.study_id, cell.trial_id, self.token, 1, cell.fold)

    def _may_take_final(self, connection: sa.Connection) -> bool:
        """Whether the finalists may get one more fold; until the transaction ends, nobody else is told so."""
        studies = tables.studies.c
        mine = sa.select(studies.study_id).where(studies.study_id == self.study_id)
        connection.execute(mine.with_for_update(key_share=True))
        return optuna_rows.count_finals(connection, self.study_id) < self.finals

    def _take_waiting(self, connection: sa.Connection, fold: int) -> Lease | None:
        trials = tables.trials.c
        first = sa.select(trials.trial_id).where(trials.study_id == self.study_id, trials.state == "WAITING")
        # Each worker takes a trial of its own without waiting. (SQLite runs one writing transaction at a time.)
        first = first.order_by(trials.trial_id).limit(1).with_for_update(skip_locked=True)
        trial_id = connection.execute(first).scalar()
        if trial_id is None or not optuna_rows.start_trial(connection, trial_id):
            return None
        # Rows can only be there from a study that was deleted, whose ids SQLite gives out again.
        delete_rows(connection, self.study_id, trial_id)
        connection.execute(sa.insert(tables.leases).values(self._row(trial_id, fold)))
        return Lease(self.study_id, trial_id, self.token, 1, fold)

    def _row(self, trial_id: int, fold: int) -> dict[str, Any]:
        row = {"study_id": self.study_id, "trial_id": trial_id, "fold": fold, "owner": self.owner}
        row |= {"token": self.token, "counter": 0, "state": "claiming", "attempt": 1, "fruitless": 0}
        return row | {"progressed": False, "note": None}

    def take_aside(self, connection: sa.Connection, may_wait: bool) -> Lease | None:
        """A trial that was put aside, while nobody trains anything."""
        is_open = sa.and_(_LEASES.study_id == self.study_id, _LEASES.state != DONE)
        trials = tables.trials.c
        waits = sa.and_(trials.study_id == self.study_id, trials.state == "WAITING")
        if workers.read_control(connection, self.study_id) != "running":
            return None
        if connection.execute(sa.select(_LEASES.fold).where(is_open).limit(1)).first() is not None:
            return None
        if not may_wait and connection.execute(sa.select(trials.trial_id).where(waits).limit(1)).first() is not None:
            return None
        done = sa.select(tables.leases).where(_LEASES.study_id == self.study_id)
        first = connection.execute(done.order_by(_LEASES.trial_id, _LEASES.fold).limit(1).with_for_update()).first()
        if first is None or first.state != DONE:  # another worker has just taken it
            return None
        mine = sa.update(tables.leases).where(_LEASES.token == first.token)
        connection.execute(mine.values(owner=self.owner, token=self.token, counter=0, state="claiming"))
        return Lease(self.study_id, first.trial_id, self.token, first.attempt, first.fold, is_over=True)


def _fail(connection: sa.Connection, orphan: Any) -> None:
    last = orphan.note or f"its worker {orphan.owner} died and left no error"
    reason = f"{MAX_FRUITLESS} attempts in a row ended without a new checkpoint or evaluation; the last one: {last}"
    delete_rows(connection, orphan.study_id, orphan.trial_id)
    if optuna_rows.end_trial(connection, orphan.trial_id, "FAIL"):
        attrs = {optuna_rows.FAILURE: reason, "attempts": orphan.attempt}
        optuna_rows.set_trial_attrs(connection, orphan.trial_id, attrs)
