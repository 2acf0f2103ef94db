"""Who owns which trial: docs/design.md, section 5.

A lease is a row with a token and a counter. It is dead when its counter stood still for one lease time on the clock
of the process that looks, with the database answering throughout: no clock is ever compared with another one.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa

from foldrace.errors import FoldraceError
from foldrace.storage import optuna_rows, tables, workers
from foldrace.storage.database import Database

T = TypeVar("T")

MAX_FRUITLESS = 3  # attempts in a row without a new checkpoint or evaluation; then the trial fails
OWNED = ("claiming", "held")  # the states of a lease whose owner works, or died
FOREIGN = "plain Optuna"  # the owner of the lease of a trial that was begun without one
_LEASES = tables.leases.c


class LeaseLost(FoldraceError):  # noqa: N818, it is news rather than an error
    """The trial is not this worker's any more: another one adopted it, or it has ended."""


@dataclass(frozen=True)
class Lease:
    """A trial that this worker owns as long as the row holds `token`. `attempt` counts from 1."""

    study_id: int
    trial_id: int
    token: str
    attempt: int


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

    def acquire(self, only_adopt: bool) -> Lease | None:
        """Lease a trial: an orphaned one first, else the first that waits. None: paused, stopping, or none is free.

        Args:
            only_adopt: lease no trial that waits.
        """
        work = partial(self._acquire, token=uuid.uuid4().hex, only_adopt=only_adopt)
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

        return self._transact_watching(work)

    def release(self, lease: Lease) -> None:
        """Give a trial back in good order: it is free at once, and the attempt does not count.

        This holds too where a supervisor marked the worker dead, or another worker took it for dead and adopted the
        trial: who releases a lease did not die of its trial.
        """
        self._database.transact(lambda connection: _release(connection, lease))

    def abandon(self, lease: Lease, reason: str) -> None:
        """Give a trial back after an error: it is free at once, and the attempt counts."""
        mine = sa.update(tables.leases).where(_LEASES.token == lease.token)
        self._database.transact(lambda connection: connection.execute(mine.values(state="orphaned", note=reason)))

    def _transact_watching(self, work: Callable[[sa.Connection], T]) -> T:
        try:
            return self._database.transact_once(work)
        except LeaseLost:
            raise
        except Exception:
            self._watch.reset()
            raise

    def _acquire(self, connection: sa.Connection, token: str, only_adopt: bool) -> Lease | None:
        before = connection.execute(sa.select(tables.leases).where(_LEASES.token == token)).first()
        if before is not None:  # the commit had arrived when the connection dropped
            return Lease(self._study_id, before.trial_id, token, before.attempt)
        workers.report_alive(connection, self._worker, self._study_id, None, workers.Activity())
        _lease_foreign(connection, self._study_id)
        dead = self._find_dead(connection)
        if workers.read_control(connection, self._study_id) != "running":
            return None
        adopted = self._adopt(connection, token, dead)
        return adopted if adopted is not None or only_adopt else self._acquire_waiting(connection, token)

    def _find_dead(self, connection: sa.Connection) -> set[str]:
        held = sa.select(_LEASES.token, _LEASES.counter).where(
            _LEASES.study_id == self._study_id, _LEASES.state.in_(OWNED)
        )
        return self._watch.find_dead((row.token, row.counter) for row in connection.execute(held))

    def _adopt(self, connection: sa.Connection, token: str, dead: set[str]) -> Lease | None:
        free = sa.or_(_LEASES.state.not_in(OWNED), _LEASES.token.in_(dead))
        orphans = sa.select(tables.leases).where(_LEASES.study_id == self._study_id, free).order_by(_LEASES.trial_id)
        for orphan in connection.execute(orphans).all():
            lease = self._adopt_one(connection, token, orphan)
            if lease is not None:
                return lease
        return None

    def _adopt_one(self, connection: sa.Connection, token: str, orphan: Any) -> Lease | None:
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
        changed = {"owner": self._worker.owner, "token": token, "counter": 0, "state": "claiming", "progressed": False}
        changed |= {"attempt": orphan.attempt + 1, "fruitless": fruitless, "note": None}
        connection.execute(sa.update(tables.leases).where(same).values(**changed))
        return Lease(self._study_id, orphan.trial_id, token, orphan.attempt + 1)

    def _acquire_waiting(self, connection: sa.Connection, token: str) -> Lease | None:
        trials = tables.trials.c
        first = sa.select(trials.trial_id).where(trials.study_id == self._study_id, trials.state == "WAITING")
        # Each worker takes a trial of its own without waiting. (SQLite runs one writing transaction at a time.)
        first = first.order_by(trials.trial_id).limit(1).with_for_update(skip_locked=True)
        trial_id = connection.execute(first).scalar()
        if trial_id is None or not optuna_rows.start_trial(connection, trial_id):
            return None
        row = {"study_id": self._study_id, "trial_id": trial_id, "owner": self._worker.owner, "token": token}
        row |= {"counter": 0, "state": "claiming", "attempt": 1, "fruitless": 0, "progressed": False, "note": None}
        # A row can only be there from a study that was deleted, whose ids SQLite gives out again.
        optuna_rows.upsert(connection, tables.leases, ("study_id", "trial_id"), row)
        return Lease(self._study_id, trial_id, token, 1)


def check_fence(connection: sa.Connection, lease: Lease) -> None:
    """Lock the lease's row: until the transaction ends, no other worker can adopt the trial.

    Raises:
        LeaseLost: another worker adopted it, or it has ended.
    """
    row = sa.select(_LEASES.token).where(_LEASES.token == lease.token).with_for_update()
    if connection.execute(row).first() is None:
        raise LeaseLost("another worker adopted the trial, or it has ended")
    if optuna_rows.read_trial_state(connection, lease.trial_id) != "RUNNING":
        raise LeaseLost("the trial has ended")


def mark_held(connection: sa.Connection, lease: Lease) -> None:
    """Record that the claim is made and the trial begins: from here on a death counts as an attempt."""
    mine = sa.update(tables.leases).where(_LEASES.token == lease.token)
    connection.execute(mine.values(state="held"))


def mark_progress(connection: sa.Connection, lease: Lease) -> None:
    """Record that this attempt left something new: neither it nor those before it count against the trial."""
    mine = sa.update(tables.leases).where(_LEASES.token == lease.token)
    connection.execute(mine.values(progressed=True))


def delete(connection: sa.Connection, lease: Lease) -> None:
    """Delete the lease of a trial that has ended."""
    connection.execute(sa.delete(tables.leases).where(_LEASES.token == lease.token))


def mark_orphaned(database: Database, owner: str, reason: str, is_attempt: bool) -> None:
    """Free the trial of a worker that is known to be dead, as by the parent that waited for it.

    The next worker adopts it at once. Doing this twice does no harm.

    Args:
        is_attempt: whether the trial may be at fault; else this death is as a release.
    """

    def work(connection: sa.Connection) -> None:
        held = sa.update(tables.leases).where(_LEASES.owner == owner, _LEASES.state.in_(OWNED))
        # A worker that died while it claimed had not begun the trial: its death is no attempt.
        state = sa.case((_LEASES.state == "claiming", "released"), else_="orphaned" if is_attempt else "released")
        connection.execute(held.values(state=state, note=reason))
        workers.report_stopped(connection, owner)

    database.transact(work)


def _lease_foreign(connection: sa.Connection, study_id: int) -> None:
    """Lease each trial that runs without a lease, as `study.ask` or `copy_study` leaves it, to a worker that never was.

    Nobody renews the lease, so the trial is adopted as any other whose worker is silent.
    """
    trials = tables.trials.c
    of_trial = sa.and_(_LEASES.study_id == trials.study_id, _LEASES.trial_id == trials.trial_id)
    query = sa.select(trials.trial_id).outerjoin(tables.leases, of_trial)
    query = query.where(trials.study_id == study_id, trials.state == "RUNNING", _LEASES.trial_id.is_(None))
    for trial_id in connection.execute(query).scalars().all():
        row = {"study_id": study_id, "trial_id": trial_id, "owner": FOREIGN, "token": uuid.uuid4().hex}
        row |= {"counter": 0, "state": "claiming", "attempt": 0, "fruitless": 0, "progressed": False, "note": None}
        made = optuna_rows.dialect_insert(connection, tables.leases).values(row)
        connection.execute(made.on_conflict_do_nothing())


def _release(connection: sa.Connection, lease: Lease) -> None:
    mine = sa.update(tables.leases).where(_LEASES.token == lease.token)
    if connection.execute(mine.values(state="released")).rowcount == 1:
        return
    # Who adopted the trial has counted this attempt. Once there is a further one, nobody knows what was counted.
    heir = sa.and_(_LEASES.study_id == lease.study_id, _LEASES.trial_id == lease.trial_id)
    heir = sa.and_(heir, _LEASES.attempt == lease.attempt + 1, _LEASES.fruitless > 0)
    connection.execute(sa.update(tables.leases).where(heir).values(fruitless=_LEASES.fruitless - 1))


def _fail(connection: sa.Connection, orphan: Any) -> None:
    last = orphan.note or f"its worker {orphan.owner} died and left no error"
    reason = f"{MAX_FRUITLESS} attempts in a row ended without a new checkpoint or evaluation; the last one: {last}"
    if optuna_rows.end_trial(connection, orphan.trial_id, "FAIL"):
        attrs = {optuna_rows.FAILURE: reason, "attempts": orphan.attempt}
        optuna_rows.set_trial_attrs(connection, orphan.trial_id, attrs)
