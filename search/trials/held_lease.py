"""A lease in the hands of its worker: kept alive by a heartbeat, checked in each write, and given up in the end."""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from foldrace.errors import hide_passwords
from foldrace.search.trials.heartbeat import Heartbeat, HeartbeatSettings
from foldrace.search.trials.outage_notes import OutageNotes
from foldrace.search.trials.protocol_timer import ProtocolTimer
from foldrace.storage.database import Database
from foldrace.storage.errors import DiskError, OutageError
from foldrace.storage.leases.acquiring import Leases
from foldrace.storage.leases.lease import Lease, LeaseLost, check_fence, mark_progress
from foldrace.storage.workers import Activity, Control

Work = Callable[[sa.Connection], None]
_RUNNING: Control = "running"


@dataclass(frozen=True)
class LeaseContext:
    """What the leases of one worker share.

    Attributes:
        outages: where a lease is noted that cannot be released.
    """

    database: Database
    leases: Leases
    timer: ProtocolTimer
    outages: OutageNotes


class HeldLease:
    """This worker's right to a trial. `release` or `abandon` gives it up.

    Use it in a `with`. A block that is left without an end, by an error say, abandons the trial with the error's text.
    An OutageError drops it, and leaves a note of that.

    Attributes:
        number: the trial's number in its study.
        alive: False as soon as the trial is known not to be ours any more.
    """

    def __init__(self, context: LeaseContext, lease: Lease, number: int) -> None:
        self.number, self.alive = number, True
        self._lease, self._outages = lease, context.outages
        self._database, self._leases, self._timer = context.database, context.leases, context.timer
        self._activity, self._control, self._progressed = Activity(), _RUNNING, False
        self._heartbeat: Heartbeat | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.alive:
            return
        if kind is None:
            self.abandon("its worker left it unfinished")
        elif issubclass(kind, OutageError | DiskError):  # nothing can be told to the database now
            self._outages.leave(self._lease)
            self._give_up()
        elif issubclass(kind, Exception):
            self.abandon(f"{kind.__name__}: {error}")
        else:  # SystemExit, KeyboardInterrupt: not the trial's fault
            self.release()

    @property
    def attempt(self) -> int:
        """Which attempt at this trial it is, from 1; each has a folder of its own."""
        return self._lease.attempt

    @property
    def release_requested(self) -> bool:
        """Whether `stop` or `pause --now` asked all workers to write a checkpoint and release their trials."""
        return self._control in ("pausing", "stopping")

    def keep_alive(self, settings: HeartbeatSettings) -> None:
        """Beat in a thread until the lease is given up or lost; with an interval of 0, do nothing."""
        if settings.seconds:
            self._heartbeat = Heartbeat(self.beat, settings)
            self._heartbeat.start()

    def beat(self) -> bool:
        """Renew the lease, trying once; False when the trial is not ours any more. The driver's errors pass through."""
        try:
            with self._timer.timing("heartbeats"):
                self._control = self._leases.renew(self._lease, self.number, self._activity)
        except LeaseLost:
            self.alive = False
        return self.alive

    def progress(self, *, fold: int, epoch: float, rows_per_second: float | None = None) -> None:
        """Take note that the loop goes on. It is called at each `Progress`; the next beat stores it."""
        self._activity = Activity(fold, epoch, self._activity.accuracy, rows_per_second)
        if self._heartbeat is not None:
            self._heartbeat.touch()

    def note_checkpoint(self) -> None:
        """Record that a checkpoint is on disk, so that this attempt was not fruitless. Raises LeaseLost."""
        if not self._progressed:
            with self._timer.timing("reports"):
                self._write(lambda connection: mark_progress(connection, self._lease))
            self._progressed = True

    def check(self) -> None:
        """Raise LeaseLost when the trial is not ours any more. On SQLite it waits for no writer."""
        self._do_fenced(self._database.read, lambda _: None)

    def release(self) -> bool:
        """Free the trial for the next worker at once; False where it was lost. The attempt never counts.

        Raises:
            OutageError, DiskError: the database does not answer, or has no room; a note is left, so that the attempt
                does not count either.
        """
        try:
            with self._timer.timing("ends"):
                return self._leases.release(self._lease)
        except (OutageError, DiskError):
            self._outages.leave(self._lease)
            raise
        finally:
            self._give_up()

    def abandon(self, reason: str) -> None:
        """Free the trial after an error: the next worker tries again, and the attempt counts if it left nothing new."""
        try:
            self._leases.abandon(self._lease, hide_passwords(reason))
        finally:
            self._give_up()

    def _write(self, work: Work) -> None:
        """Do `work` in a transaction behind the fence. Raises LeaseLost: then nothing was written."""
        self._do_fenced(self._database.transact, work)

    def _do_fenced(self, transact: Callable[[Work], None], work: Work) -> None:
        def fenced(connection: sa.Connection) -> None:
            check_fence(connection, self._lease)
            work(connection)

        try:
            transact(fenced)
        except LeaseLost:
            self._give_up()
            raise

    def _give_up(self) -> None:
        self.alive = False
        if self._heartbeat is not None:
            self._heartbeat.stop()
