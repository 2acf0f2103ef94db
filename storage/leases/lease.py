"""Who owns which fold of which trial, or all folds of one: docs/design.md, section 5.

A lease is a row with a token. Every write to a trial checks in its own transaction that the row is still there.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from foldrace.errors import FoldraceError
from foldrace.storage import optuna_rows, tables, workers
from foldrace.storage.database import Database

OWNED = ("claiming", "held")  # the states of a lease whose owner works, or died
DONE = "done"  # the state of a fold that is trained, of a trial that has others
FOREIGN = "plain Optuna"  # the owner of the lease of a trial that was begun without one
_LEASES = tables.leases.c


class LeaseLost(FoldraceError):  # noqa: N818, it is news rather than an error
    """The trial is not this worker's any more: another one adopted it, or it has ended."""


@dataclass(frozen=True)
class Lease:
    """A fold that this worker owns as long as the row holds `token`, or all folds. `attempt` counts from 1."""

    study_id: int
    trial_id: int
    token: str
    attempt: int
    fold: int = tables.WHOLE
    is_over: bool = False  # the trial was put aside for good: it is leased to be ended


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
    """Delete all leases of a trial that has ended: whoever trains another fold of it lets go."""
    delete_rows(connection, lease.study_id, lease.trial_id)


def finish_fold(connection: sa.Connection, lease: Lease, folds: int) -> bool:
    """Record that a fold is done; False where all others are: then nothing is recorded, as the trial ends with it.

    Args:
        folds: of the trial.
    """
    trials = tables.trials.c
    # Who finishes another fold of the trial at this moment waits: one of the two is the last.
    connection.execute(sa.select(trials.trial_id).where(trials.trial_id == lease.trial_id).with_for_update())
    done = sa.select(sa.func.count()).where(
        _LEASES.study_id == lease.study_id, _LEASES.trial_id == lease.trial_id, _LEASES.state == DONE
    )
    # A first try may have arrived, with its answer lost: this fold is none of the others.
    others = done.where(_LEASES.token != lease.token)
    if connection.execute(others).scalar_one() >= folds - 1:
        return False
    mine = sa.update(tables.leases).where(_LEASES.token == lease.token)
    connection.execute(mine.values(state=DONE))
    return True


def read_folds(connection: sa.Connection, study_id: int) -> dict[int, dict[int, str]]:
    """The states of the folds that were begun, by trial id and fold, of trials that have not ended."""
    found: dict[int, dict[int, str]] = {}
    for row in connection.execute(sa.select(tables.leases).where(_LEASES.study_id == study_id)):
        found.setdefault(row.trial_id, {})[row.fold] = row.state
    return found


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


def delete_rows(connection: sa.Connection, study_id: int, trial_id: int) -> None:
    """Delete every lease of a trial."""
    of_trial = sa.and_(_LEASES.study_id == study_id, _LEASES.trial_id == trial_id)
    connection.execute(sa.delete(tables.leases).where(of_trial))
