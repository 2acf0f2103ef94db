"""The signs of life that workers leave for people to see, and what people ask of all workers of a study.

Nothing about a trial is ever decided by a worker's row; only leases do that.
"""

import os
import socket
import uuid
from dataclasses import dataclass, field
from typing import Literal, get_args

import sqlalchemy as sa

from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.errors import StorageError

Control = Literal["running", "paused", "stopping"]
_FORGET_AFTER = 86_400.0  # seconds


@dataclass(frozen=True)
class WorkerIdentity:
    """One worker process. `owner` is unique for ever: a process id comes back, this does not."""

    device: str = "cpu"
    owner: str = field(default_factory=lambda: new_owner())
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)


@dataclass(frozen=True)
class Note:
    """Where a worker is in its trial: for people."""

    fold: int | None = None
    epoch: float | None = None
    accuracy: float | None = None
    rows_per_second: float | None = None


def new_owner() -> str:
    """A name for a worker process, that its supervisor may choose before it starts."""
    return f"{socket.gethostname()}:{uuid.uuid4().hex[:12]}"


def sign(
    database: Database, connection: sa.Connection, worker: WorkerIdentity, study_id: int, number: int | None, note: Note
) -> None:
    """Say that `worker` lives, and what it does. Times are the database's own."""
    row = {"study_id": study_id, "host": worker.host, "pid": worker.pid, "device": worker.device, "number": number}
    row |= vars(note) | {"stopped": False, "seen_at": database.seconds_now()}
    counter = tables.workers.c.counter
    statement = optuna_rows.insert_or(connection, tables.workers).values(owner=worker.owner, counter=0, **row)
    connection.execute(statement.on_conflict_do_update(index_elements=["owner"], set_=row | {"counter": counter + 1}))


def sign_off(connection: sa.Connection, owner: str) -> None:
    """The worker has ended, in good order or not."""
    left = sa.update(tables.workers).where(tables.workers.c.owner == owner)
    connection.execute(left.values(stopped=True, number=None))


def forget_old(database: Database, connection: sa.Connection) -> None:
    """Forget workers that nobody has seen for a day."""
    old = tables.workers.c.seen_at < database.seconds_now() - _FORGET_AFTER
    connection.execute(sa.delete(tables.workers).where(old))


def control(connection: sa.Connection, study_id: int) -> Control:
    """What was asked of all workers of a study."""
    controls = tables.controls.c
    found: Control | None = connection.execute(
        sa.select(controls.control).where(controls.study_id == study_id)
    ).scalar()
    return found or "running"


def set_control(database: Database, name: str, asked: Control, *, finals: bool = True) -> None:
    """Ask all workers of a study, and with `finals` those of its final jobs, to pause, to stop, or to go on.

    Raises:
        StorageError: no such study, and no final job of one.
    """
    if asked not in get_args(Control):
        raise StorageError(f"{asked!r} cannot be asked of a study; one of {', '.join(get_args(Control))} can")

    def work(connection: sa.Connection) -> None:
        jobs = _finals_of(connection, name) if finals else []
        searched = sa.select(tables.studies.c.study_id).where(tables.studies.c.study_name == name)
        for study_id in [*connection.execute(searched).scalars(), *jobs] or [study_id_of(database, connection, name)]:
            optuna_rows.upsert(connection, tables.controls, ("study_id",), {"study_id": study_id, "control": asked})

    database.transact(work)


def study_id_of(database: Database, connection: sa.Connection, name: str) -> int:
    """Raises StorageError, with the names that are there, when there is no such study."""
    studies = tables.studies.c
    found = connection.execute(sa.select(studies.study_id).where(studies.study_name == name)).scalar()
    if found is None:
        names = connection.execute(sa.select(studies.study_name).order_by(studies.study_name)).scalars().all()
        raise StorageError(f"{database.address}: no study {name}; there: {', '.join(names) or 'none'}")
    return int(found)


def _finals_of(connection: sa.Connection, name: str) -> list[int]:
    studies = tables.studies.c
    jobs = sa.select(studies.study_id).where(studies.study_name.startswith(f"{name}/final-", autoescape=True))
    return list(connection.execute(jobs).scalars())
