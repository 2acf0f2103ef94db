"""What a supervisor's process asks the database and tells it, in a thread of its own.

A database that does not answer holds up this thread and nothing else: workers are looked after, signals are heeded.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from foldrace.search.monitor.status import Standing
from foldrace.search.workers.slots import Slot
from foldrace.search.workers.supervisor import Snapshot
from foldrace.storage.errors import StorageError

REFRESH_SECONDS = 1.0
SILENCE_SECONDS = 15.0  # a look that takes longer is told
CLOSE_SECONDS = 5.0  # what is not told to the database by then is not waited for: the lease runs out by itself


class Observer:
    """Looks at the study about once a second, and tells the database which workers are known to be dead.

    Attributes:
        seen: how the study stood when it was last read; None until the first worker made it.
    """

    def __init__(
        self,
        look: Callable[[], Standing | None],
        owner_in: Callable[[Slot], str | None],
        bury: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins when it is entered.

        Args:
            look: reads the standing.
            owner_in: the name of the worker that was started last in a slot.
            bury: frees the trial of a worker, which died for a reason. Doing it twice does no harm.
        """
        self.seen: Standing | None = None
        self._look, self._owner_in, self._bury, self._clock = look, owner_in, bury, clock
        self._known: set[str] = set()
        self._dead: deque[tuple[str, str]] = deque()
        self._refusal = ""
        self._fault: Exception | None = None
        self._answered = clock()
        self._wake, self._closing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)

    @property
    def trouble(self) -> str:
        """Why what is seen may be old; empty when it is not."""
        if self._clock() - self._answered <= SILENCE_SECONDS:
            return ""
        told = self._refusal or f"the database has not answered for {SILENCE_SECONDS:g} s"
        return f"{told}; the workers wait for it"

    def heed(self, snapshot: Snapshot) -> None:
        """Take note of workers that crashed or were killed. Raises an error of the thread that no database made."""
        if self._fault is not None:
            raise self._fault
        for worker in snapshot.workers:
            owner = self._owner_in(worker.slot)
            # One that was stopped may have been killed; where it let go in good order, there is nothing to free.
            dead = worker.pid is None and worker.state in ("waiting", "given up", "stopped")
            if owner is not None and dead and owner not in self._known:
                self._known.add(owner)
                self._dead.append((owner, ": ".join((worker.note or "stopped with its run", *worker.last_lines[-1:]))))
                self._wake.set()

    def _run(self) -> None:
        last = False
        while not last:
            self._wake.wait(REFRESH_SECONDS)
            self._wake.clear()
            last = self._closing
            try:
                self._once()
            except StorageError as error:  # it has been waited out for as long as this process has patience
                self._refusal = str(error)
            except Exception as error:
                self._fault = error
                return

    def _once(self) -> None:
        while self._dead:
            self._bury(*self._dead[0])
            self._dead.popleft()  # only now: it is told again after an outage
        self.seen = self._look()
        self._refusal, self._answered = "", self._clock()
