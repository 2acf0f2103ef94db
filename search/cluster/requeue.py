"""How a worker asks Slurm for another life: where its time or its database ended before its work did."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from foldrace.search.cluster import slurm
from foldrace.search.cluster.slurm import FOLDER
from foldrace.search.session import Session
from foldrace.search.study_store import job_name
from foldrace.search.workers.process import CRASHES_IN_A_ROW
from foldrace.search.workers.signals import StopSignals
from foldrace.storage import optuna_rows, tables
from foldrace.storage.errors import DiskError, OutageError, StorageError
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workers import has_trained, own_task, read_control
from foldrace.storage.workspace import Workspace

logger = logging.getLogger("foldrace.worker")


@dataclass
class Life:
    """What came of one life of a worker; whoever runs it says so.

    Attributes:
        has_trained: whether it brought a fold on.
        work_left: whether something is left to do, as far as is known.
    """

    has_trained: bool = False
    work_left: bool = True
    signals: StopSignals = field(default_factory=StopSignals)

    @contextmanager
    def observed(self, session: Session, job: str | None, owner: str | None) -> Iterator[None]:
        """Learn from the database, when the worker `owner` ends, what came of its life; what is not known stays."""
        name = session.study.name if job is None else job_name(session.study.name, job)
        unfinished = sa.select(tables.trials.c.trial_id).where(tables.trials.c.state.in_(optuna_rows.UNFINISHED))

        def work(connection: sa.Connection) -> None:
            study_id = optuna_rows.find_study_id(connection, name)
            left = connection.execute(unfinished.where(tables.trials.c.study_id == study_id).limit(1)).first()
            self.has_trained = owner is not None and has_trained(connection, owner)
            self.work_left = left is not None and read_control(connection, study_id) != "stopping"

        try:
            yield
        finally:
            with suppress(sa.exc.SQLAlchemyError, StorageError):  # it waits for no outage
                session.database.transact_once(work)


@contextmanager
def requeued(workspace: Workspace, life: Life) -> Iterator[None]:
    """Have Slurm start this task again where its work was cut off, but not for ever without progress.

    Its work was cut off when the time limit ended it (Slurm sends SIGTERM, and still calls the task running), when the
    database does not answer, or the disk has no room. What the user has to mend, and what the user ended, is not.

    Raises:
        NotRequeuedError: Slurm does not take it back.
    """
    try:
        yield
    except (OutageError, DiskError) as error:
        if isinstance(error, DiskError):  # what it trained is not kept
            life.has_trained = False
        with suppress(slurm.NotRequeuedError):  # the exit status of the error says it
            _requeue(workspace, life)
        raise
    if life.signals.number == signal.SIGTERM and life.work_left:
        _requeue(workspace, life)


def _requeue(workspace: Workspace, life: Life) -> None:
    task = own_task()
    if not task:
        logger.info("work is left: the exit status tells it to whoever starts workers here")
        return
    try:
        if not slurm.is_running(task):
            logger.info("Slurm ends this task: it is not asked for another life")
            return
        lives = _count_lives(workspace.folder / FOLDER / f"{task}.lives", life)
        if lives >= CRASHES_IN_A_ROW:
            logger.warning("%d lives in a row brought nothing on: this task is not started again", lives)
            return
        slurm.requeue(task)
        logger.info("Slurm starts task %s again", task)
    except slurm.SlurmError as error:
        logger.warning("this task is not started again: %s", error)
        raise slurm.NotRequeuedError(f"work is left, and this task is not started again: {error}") from None


def _count_lives(file: Path, life: Life) -> int:
    """Which life in a row this one is that brought nothing on; 0 where it did.

    Kept in the run's folder, with the number of Slurm's restarts by then.
    """
    before, restarts = 0, -1
    with suppress(OSError, ValueError):
        before, restarts = map(int, file.read_text(encoding="utf-8").split())
    lives = 0 if life.has_trained else before + 1
    try:
        atomic_write(file, f"{lives} {slurm.restarts()}")
    except StorageError:  # a disk without room: then every life since the last note counts
        return before + slurm.restarts() - restarts
    return lives
