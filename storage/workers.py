"""The signs of life that workers leave for people to see, and what people ask of all workers of a study.

A worker's row decides nothing about a trial; leases do.
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

Control = Literal["running", "paused", "pausing", "stopping"]  # pausing: what runs is released, too
NODE_VARIABLE = "FOLDRACE_NODE"  # in the environment: the name of this machine in its cluster
_FORGET_SECONDS = 86_400.0


@dataclass(frozen=True)
class WorkerIdentity:
    """One worker process. `owner` is unique for ever: a process id comes back, this does not."""

    device: str = "cpu"
    owner: str = field(default_factory=lambda: new_owner())
    host: str = field(default_factory=lambda: _node())
    pid: int = field(default_factory=os.getpid)


@dataclass(frozen=True)
class Activity:
    """What a worker is doing in its trial."""

    fold: int | None = None
    epoch: float | None = None
    accuracy: float | None = None
    rows_per_second: float | None = None


def new_owner() -> str:
    """A unique name for a worker process; its supervisor may choose it before the process starts.

    Under Slurm it names the task too, as in n1/48213_3:0123456789ab.
    """
    task = own_task()
    return f"{_node()}{f'/{task}' if task else ''}:{uuid.uuid4().hex[:12]}"


def own_task() -> str:
    """The task of Slurm that this process is, as 48213_3; empty where it is none.

    SLURM_JOB_ID will not do: that of an array's last task is the number of the whole array.
    """
    job, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{job}_{task}" if job and task else os.environ.get("SLURM_JOB_ID", "")


def job_of(owner: str) -> str:
    """The task of Slurm that a worker is, by its name; empty where it is none."""
    return owner.rpartition(":")[0].partition("/")[2]


def _node() -> str:
    return os.environ.get(NODE_VARIABLE) or os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def has_trained(connection: sa.Connection, owner: str) -> bool:
    """Whether a worker has told, at a heartbeat, that it brought a fold on; one that is claimed begins at epoch 0."""
    found = sa.select(tables.workers.c.epoch).where(tables.workers.c.owner == owner)
    return (connection.execute(found).scalar() or 0.0) > 0.0


def seconds_now(connection: sa.Connection) -> "sa.ColumnElement[float]":
    """The database's own clock as an SQL expression, in seconds. It tells ages; nothing is decided by it."""
    if connection.dialect.name == "sqlite":
        return (sa.func.julianday("now") - 2440587.5) * 86400.0
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float(53))


def report_alive(
    connection: sa.Connection, worker: WorkerIdentity, study_id: int, number: int | None, activity: Activity
) -> None:
    """Record a sign of life of `worker`, with the number of its trial and what it does there."""
    row = {"study_id": study_id, "host": worker.host, "pid": worker.pid, "device": worker.device, "number": number}
    row |= vars(activity) | {"stopped": False, "seen_at": seconds_now(connection)}
    counter = tables.workers.c.counter
    statement = optuna_rows.dialect_insert(connection, tables.workers).values(owner=worker.owner, counter=0, **row)
    connection.execute(statement.on_conflict_do_update(index_elements=["owner"], set_=row | {"counter": counter + 1}))


def report_stopped(connection: sa.Connection, owner: str) -> None:
    """Record that a worker has ended, in good order or not."""
    ended = sa.update(tables.workers).where(tables.workers.c.owner == owner)
    connection.execute(ended.values(stopped=True, number=None))


def delete_old(connection: sa.Connection) -> None:
    """Delete the rows of workers that gave no sign of life for a day."""
    old = tables.workers.c.seen_at < seconds_now(connection) - _FORGET_SECONDS
    connection.execute(sa.delete(tables.workers).where(old))


def read_control(connection: sa.Connection, study_id: int) -> Control:
    """What all workers of a study were asked for."""
    controls = tables.controls.c
    found: Control | None = connection.execute(
        sa.select(controls.control).where(controls.study_id == study_id)
    ).scalar()
    return found or "running"


def set_control(database: Database, name: str, asked: Control, *, finals: bool = True) -> None:
    """Ask all workers of a study, and with `finals` those of the jobs beside it, to pause, to stop, or to go on.

    Raises:
        StorageError: no such study, and no job beside one.
    """
    if asked not in get_args(Control):
        raise StorageError(f"{asked!r} cannot be asked of a study; one of {', '.join(get_args(Control))} can")

    def work(connection: sa.Connection) -> None:
        ids = [study_id for one, study_id in _begun(connection, name).items() if finals or one == name]
        for study_id in ids or [optuna_rows.find_study_id(connection, name)]:
            optuna_rows.upsert(connection, tables.controls, ("study_id",), {"study_id": study_id, "control": asked})

    database.transact(work)


def begun_studies(database: Database, name: str) -> list[str]:
    """The names of a study and of those beside it, `NAME/...`, as far as they are begun."""
    return database.read(lambda connection: list(_begun(connection, name)))


def _begun(connection: sa.Connection, name: str) -> dict[str, int]:
    """The ids of a study and of what is beside it, by their names."""
    studies = tables.studies.c
    beside = studies.study_name.startswith(f"{name}/", autoescape=True)
    query = sa.select(studies.study_name, studies.study_id).where((studies.study_name == name) | beside)
    return {row.study_name: row.study_id for row in connection.execute(query)}
