"""The thread in which a supervisor's process reads a study's status and tells the database which workers are dead.

A database that does not answer holds up this thread alone: the supervisor goes on looking after workers and signals.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from foldrace.errors import FoldraceError
from foldrace.search.monitor.status import StudyStatus
from foldrace.search.workers.slots import Slot
from foldrace.search.workers.supervisor import Snapshot
from foldrace.storage.errors import StorageError

POLL_SECONDS = 1.0
STALE_SECONDS = 15.0  # an answer that is older than this is reported as stale
CLOSE_SECONDS = 5.0  # then closing no longer waits for the database: the lease of a dead worker runs out by itself


class StudyGoneError(FoldraceError):
    """A study that was there is not in its database any more."""


class StatusPoller:
    """Reads the status about once a second, and marks workers as dead in the database.

    Attributes:
        status: as it was last read; None until the first worker has made the study.
    """

    def __init__(
        self,
        read: Callable[[], StudyStatus | None],
        owner_in: Callable[[Slot], str | None],
        mark_dead: Callable[[str, str, bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A poller that starts when it is entered.

        Args:
            read: reads the status; None while there is no study.
            owner_in: the name of the worker that was started last in a slot.
            mark_dead: frees the trial of a worker, given its name, the reason of its death, and whether that may be
                the fault of the trial. It may be repeated.
        """
        self.status: StudyStatus | None = None
        self._read, self._owner_in, self._mark_dead, self._clock = read, owner_in, mark_dead, clock
        self._known_dead: set[str] = set()
        self._to_mark: deque[tuple[str, str, bool]] = deque()
        self._last_error = ""
        self._bug: Exception | None = None
        self._answered_at = clock()
        self._wake, self._closing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="status-poller", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)

    @property
    def stale_reason(self) -> str:
        """Why `status` may be old, in one line; empty while it is fresh."""
        if self._clock() - self._answered_at <= STALE_SECONDS:
            return ""
        reason = self._last_error or f"the database has not answered for {STALE_SECONDS:g} s"
        return f"{reason}; the workers wait for it"

    def observe(self, snapshot: Snapshot) -> None:
        """Find the workers that died since the last snapshot, and have the thread mark them.

        Raises:
            StudyGoneError: another program has deleted or renamed the study.
            Exception: what ended the thread, unless the database was the cause.
        """
        if self._bug is not None:
            raise self._bug
        for worker in snapshot.workers:
            owner = self._owner_in(worker.slot)
            # A stopped worker may have been killed. Where it released its trial, marking it changes nothing.
            dead = worker.pid is None and worker.state in ("waiting", "given up", "stopped")
            if owner is not None and dead and owner not in self._known_dead:
                self._known_dead.add(owner)
                reason = ": ".join((worker.note or "stopped with its run", *worker.last_lines[-1:]))
                self._to_mark.append((owner, reason, worker.died))
                self._wake.set()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            is_last = self._closing
            try:
                self._poll()
            except StorageError as error:  # the database was retried for as long as this process has patience
                self._last_error = str(error)
            except Exception as error:
                self._bug = error
                return

    def _poll(self) -> None:
        while self._to_mark:
            self._mark_dead(*self._to_mark[0])
            self._to_mark.popleft()  # only after it was marked: an outage must not lose it
        status = self._read()
        if status is None and self.status is not None:
            gone = (
                "was deleted or renamed in its database while the run was at work: the run ends, or it would begin anew"
            )
            raise StudyGoneError(f"study {self.status.name}: {gone}")
        self.status = status
        self._last_error, self._answered_at = "", self._clock()
