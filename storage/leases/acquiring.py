"""How a worker comes to a lease: it adopts what is orphaned, or takes what is free.

A lease is dead when its counter stood still for one lease time on the clock of the process that looks, with the
database answering throughout: no clock is ever compared with another one.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from foldrace.storage import optuna_rows, tables, workers
from foldrace.storage.database import Database
from foldrace.storage.leases.lease import DONE, FOREIGN, OWNED, Lease, LeaseLost, check_fence
from foldrace.storage.leases.taking import WAITING, Cell, Taker

T = TypeVar("T")

_LEASES = tables.leases.c


class LeaseWatch:
    """Tells which leases stand still, by this process's own monotonic clock."""

    def __init__(self, lease_seconds: float, clock: Callable[[], float]) -> None:
        self._lease_seconds, self._clock = lease_seconds, clock
        self._looked_at = -float("inf")
        self._since: dict[tuple[str, int], float] = {}

    def find_dead(self, seen: Iterable[tuple[str, int]]) -> set[str]:
        """The tokens whose counter stood still for a lease time; `seen` are all (token, counter) that there are now."""
        now = self._clock()
        if now - self._looked_at > self._lease_seconds / 2:
            self.reset()  # who knows whether the database answered meanwhile
        self._looked_at = now
        self._since = {key: self._since.get(key, now) for key in seen}
        return {token for (token, _), since in self._since.items() if now - since >= self._lease_seconds}

    def reset(self) -> None:
        """Begin anew: the database did not answer, so no owner could renew."""
        self._since = {}


class Leases:
    """The leases of one study, as one worker sees them."""

    def __init__(
        self,
        database: Database,
        study_id: int,
        worker: workers.WorkerIdentity,
        lease_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._database, self._study_id, self._worker = database, study_id, worker
        self._watch = LeaseWatch(lease_seconds, clock)

    def acquire(self, wanted: Sequence[Cell] = (WAITING,), finals: int = 0) -> Lease | None:
        """Lease an orphaned fold, else the first of those wanted that is free. None: paused, stopping, or none is.

        Args:
            finals: how many folds the finalists may get in all, those that they have been given included.
        """
        work = partial(self._acquire, taker=self._taker(finals), wanted=wanted)
        return self._database.retry(lambda: self._transact_watching(work))

    def acquire_aside(self, may_wait: bool) -> Lease | None:
        """Lease a trial that was put aside, to end it: once nobody trains anything, so that nothing can change it.

        Args:
            may_wait: trials that wait will not be begun.
        """
        work = partial(_acquire_aside, taker=self._taker(), may_wait=may_wait)
        return self._database.retry(lambda: self._transact_watching(work))

    def renew(self, lease: Lease, number: int, activity: workers.Activity) -> workers.Control:
        """Send one heartbeat, in one transaction, tried once; return what the workers are asked for.

        Raises:
            LeaseLost: the token in the row is another one's, or the trial has ended.
            SQLAlchemyError: the driver's own, when the database does not answer.
        """

        def work(connection: sa.Connection) -> workers.Control:
            check_fence(connection, lease)
            mine = sa.update(tables.leases).where(_LEASES.token == lease.token)
            connection.execute(mine.values(counter=_LEASES.counter + 1))
            workers.report_alive(connection, self._worker, self._study_id, number, activity)
            self._find_dead(connection)
            return workers.read_control(connection, self._study_id)

        try:
            return self._transact_watching(work)
        finally:
            self._database.disconnect()

    def show(self, connection: sa.Connection, number: int, activity: workers.Activity) -> None:
        """Record what this worker has begun, for people: a short fold is over before its first heartbeat."""
        workers.report_alive(connection, self._worker, self._study_id, number, activity)

    def release(self, lease: Lease) -> bool:
        """Give a trial back in good order: it is free at once, and the attempt does not count.

        This holds too where a supervisor marked the worker dead, or another worker took it for dead and adopted the
        trial: who releases a lease did not die of its trial.

        Returns:
            False when it was another worker's already, or its trial had ended.
        """
        return self._database.transact(lambda connection: _release(connection, lease))

    def abandon(self, lease: Lease, reason: str) -> None:
        """Give a trial back after an error: it is free at once, and the attempt counts."""
        mine = _untrained(lease).values(state="orphaned", note=reason)
        self._database.transact(lambda connection: connection.execute(mine))

    def _transact_watching(self, work: Callable[[sa.Connection], T]) -> T:
        try:
            return self._database.transact_once(work)
        except LeaseLost:
            raise
        except Exception:
            self._watch.reset()
            raise

    def _taker(self, finals: int = 0) -> Taker:
        return Taker(self._study_id, self._worker.owner, uuid.uuid4().hex, finals)

    def _acquire(self, connection: sa.Connection, taker: Taker, wanted: Sequence[Cell]) -> Lease | None:
        if (before := taker.taken(connection)) is not None:
            return before
        workers.report_alive(connection, self._worker, self._study_id, None, workers.Activity())
        _lease_foreign(connection, self._study_id)
        dead = self._find_dead(connection)
        if workers.read_control(connection, self._study_id) != "running":
            return None
        taken = (taker.take(connection, cell) for cell in wanted)
        return taker.adopt(connection, dead) or next((lease for lease in taken if lease is not None), None)

    def _find_dead(self, connection: sa.Connection) -> set[str]:
        held = sa.select(_LEASES.token, _LEASES.counter).where(
            _LEASES.study_id == self._study_id, _LEASES.state.in_(OWNED)
        )
        return self._watch.find_dead((row.token, row.counter) for row in connection.execute(held))


def _acquire_aside(connection: sa.Connection, taker: Taker, may_wait: bool) -> Lease | None:
    return taker.taken(connection) or taker.take_aside(connection, may_wait)


def _lease_foreign(connection: sa.Connection, study_id: int) -> None:
    """Lease each trial that runs without a lease, as `study.ask` or `copy_study` leaves it, to a worker that never was.

    Nobody renews the lease, so the trial is adopted as any other whose worker is silent.
    """
    trials = tables.trials.c
    of_trial = sa.and_(_LEASES.study_id == trials.study_id, _LEASES.trial_id == trials.trial_id)
    query = sa.select(trials.trial_id).select_from(tables.trials).outerjoin(tables.leases, of_trial)
    query = query.where(trials.study_id == study_id, trials.state == "RUNNING", _LEASES.trial_id.is_(None))
    for trial_id in connection.execute(query).scalars().all():
        row = {"study_id": study_id, "trial_id": trial_id, "fold": tables.WHOLE, "owner": FOREIGN}
        row |= {
            "token": uuid.uuid4().hex,
            "counter": 0,
            "state": "claiming",
            "attempt": 0,
            "fruitless": 0,
            "progressed": False,
            "note": None,
        }
        made = optuna_rows.dialect_insert(connection, tables.leases).values(row)
        connection.execute(made.on_conflict_do_nothing())


def _untrained(lease: Lease) -> sa.Update:
    """The update of a lease's row, unless its fold is done: that may be stored though its worker never learnt of it."""
    return sa.update(tables.leases).where(_LEASES.token == lease.token, _LEASES.state != DONE)


def _release(connection: sa.Connection, lease: Lease) -> bool:
    if connection.execute(_untrained(lease).values(state="released")).rowcount == 1:
        return True
    # Who adopted the trial has counted this attempt. Once there is a further one, nobody knows what was counted.
    heir = sa.and_(_LEASES.study_id == lease.study_id, _LEASES.trial_id == lease.trial_id)
    heir = sa.and_(heir, _LEASES.fold == lease.fold, _LEASES.attempt == lease.attempt + 1, _LEASES.fruitless > 0)
    connection.execute(sa.update(tables.leases).where(heir).values(fruitless=_LEASES.fruitless - 1))
    return False
