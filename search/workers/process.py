"""The worker process of one slot over all its restarts: it is started, asked to end, and found to have ended.

What it prints goes into a log of its own. Of what it does there, only the exit status and the last lines are read.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from foldrace.errors import FoldraceError
from foldrace.search.workers.slots import Slot
from foldrace.storage.errors import as_storage_error, room_left
from foldrace.storage.files.atomic import no_follow
from foldrace.storage.files.locking import try_lock
from foldrace.storage.wait_watch import WAITING

FIRST_BACKOFF_SECONDS = 1.0  # doubled with each further crash in a row
SETTLED_SECONDS = 600.0  # after a run of this length, the next crash counts as the first in a row
CRASHES_IN_A_ROW = 5  # then the worker is given up
KILL_SECONDS = 2.0  # the longest wait for a killed process: inside a driver call it can outlive SIGKILL
LAST_LINES = 5
GIVEN_UP = 1  # the exit status of a run in which a worker was given up and the others went on
USER_ERROR = 2  # the exit status of a worker that printed a FoldraceError
OUTAGE = os.EX_TEMPFAIL  # the exit status of a worker whose database did not answer
DISK = os.EX_IOERR  # the exit status of a worker that could not write a file
TOLD_SECONDS = 2.0  # until a worker that somebody else ended is started again: a launcher may be ending the run, too
OUTAGE_SECONDS = 10.0  # until a worker that waits is started again, as often as it takes
RECOVERED_SECONDS = 60.0  # a worker that ran for so long had what it waited for

_WAITS_FOR = {OUTAGE: "the database", DISK: "room on the disk, or the right to write there"}
_TAIL_BYTES = 16 * 1024
_ENDED_AS_ASKED = (0, 128 + signal.SIGTERM, -signal.SIGTERM)  # exit statuses of a worker that was asked to end
# Of one that somebody else asked: 128 + n where it saved and released its trial, -n before it heeded signals.
_TOLD = {way: number for number in (signal.SIGTERM, signal.SIGINT) for way in (128 + number, -number)}

State = Literal["running", "waiting", "done", "refused", "given up", "stopped"]


class SupervisorError(FoldraceError):
    """A worker process cannot be started."""


@dataclass(frozen=True)
class WorkerView:
    """What the user may see of a worker.

    Attributes:
        state: running; waiting (to be started, or started again); done (nothing left to do); refused (a user error);
            given up (crashed too often); stopped (with the run).
        pid: of the process that runs; None while none does.
        note: one line that says what it waits for, or how it last ended badly and what follows; else empty.
        last_lines: of its log at that moment.
        died: whether its last process ended by a fault of its own or of its trial; not by an outage, nor with the run.
    """

    slot: Slot
    state: State
    pid: int | None
    restarts: int
    note: str
    last_lines: tuple[str, ...]
    log: Path
    died: bool = True


class WorkerProcess:
    """The process of a slot, over all its restarts."""

    def __init__(
        self, slot: Slot, command: Callable[[Slot], Sequence[str]], log_folder: Path, clock: Callable[[], float]
    ) -> None:
        """A process that is due at once. Raises StorageError when its log cannot be written."""
        self.state: State = "waiting"
        self.note = ""
        self.name = f"worker {slot.index} ({slot.place or slot.device})"
        self._slot, self._command, self._clock = slot, command, clock
        with as_storage_error(log_folder):
            self._log, self._output = _own_log(log_folder, slot.index)
        self._process: subprocess.Popen[bytes] | None = None
        self._last_lines: tuple[str, ...] = ()
        self._log_start = 0  # bytes in the log before this process
        self._starts = 0
        self._crashes = 0  # in a row
        self._started = 0.0
        self._due = clock()
        self._is_asked_to_end = self._met_outage = False

    def view(self) -> WorkerView:
        """The worker as it is now."""
        pid = self._process.pid if self._process is not None else None
        restarts = max(0, self._starts - 1)
        died = not (self._is_asked_to_end or self._met_outage)
        tail = self._tail()[-1:] if self._process is not None else ()
        waits = [f"{self.name}: {line}" for line in tail if WAITING in line]
        note, lines = (waits[0], ()) if waits else (self.note, self._last_lines)
        return WorkerView(self._slot, self.state, pid, restarts, note, lines, self._log, died)

    def poll(self) -> None:
        """Start the process when it is due; find out whether it has ended."""
        if self.state == "waiting" and self._clock() >= self._due:
            self._start()
        elif self._process is not None and _has_ended(self._process.pid):
            _kill_group(self._process.pid)  # before wait: afterwards another process may have its id
            status = self._process.wait()
            self._process = None
            self._ended(status)

    def terminate(self) -> None:
        """Send SIGTERM to the process alone: if its children got it too, the worker would see them crash."""
        self._is_asked_to_end = True
        if self._process is not None:
            self._process.terminate()
        elif self.state == "waiting":
            self.state = "stopped"

    def kill(self) -> None:
        """Send SIGKILL to the process and to all that it started."""
        if self._process is not None:
            _kill_group(self._process.pid)

    def reap(self) -> None:
        """Wait for a killed process for `KILL_SECONDS`, and no longer."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_SECONDS)
        self._process, self.state = None, "stopped"

    def close(self) -> None:
        """Close the log."""
        self._output.close()

    def _start(self) -> None:
        try:
            self._log_start = self._output.seek(0, os.SEEK_END)
            self._process = subprocess.Popen(
                self._command(self._slot),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env={**os.environ, **self._slot.environment()},
                start_new_session=True,  # Ctrl-C of the terminal reaches the supervisor alone, which passes it on
            )
        except OSError as error:
            raise SupervisorError(f"{self.name} cannot be started: {error}") from None
        self.state, self._started = "running", self._clock()
        self._starts += 1

    def _ended(self, status: int) -> None:
        if status == 0 or (self._is_asked_to_end and status in _ENDED_AS_ASKED):
            self.state = "stopped" if self._is_asked_to_end else "done"
            return
        had_waited, self._met_outage = self._met_outage, status in _WAITS_FOR
        self._last_lines = self._tail()
        if status == USER_ERROR:
            self.state = "refused"
            self.note = (
                self._last_lines[-1] if self._last_lines else f"{self.name} exited with status 2; see {self._log}"
            )
        elif status in _WAITS_FOR and not self._is_asked_to_end:
            self.state, self._due = "waiting", self._clock() + OUTAGE_SECONDS
            if not had_waited or self._clock() - self._started >= RECOVERED_SECONDS:  # it had it meanwhile
                self.note = f"{self.name} {_waiting_for(status, self._log.parent)}"
        elif self._is_asked_to_end:
            self.state, self.note = "stopped", f"{self.name} {_in_words(status)} while it stopped; see {self._log}"
        elif status in _TOLD:
            self.state, self._due = "waiting", self._clock() + TOLD_SECONDS
            told = f"{self.name} was told to end by {_TOLD[status].name}, which this run did not send"
            self.note = f"{told}: started again in {TOLD_SECONDS:g} s (time {self._starts})"
        else:
            self._crashed(status)

    def _crashed(self, status: int) -> None:
        lasted = self._clock() - self._started
        self._crashes = 1 if lasted >= SETTLED_SECONDS else self._crashes + 1
        ending = f"{self.name} {_in_words(status)} after {lasted:.0f} s"
        if self._crashes == CRASHES_IN_A_ROW:
            self.state = "given up"
            self.note = f"{ending}: given up after {self._crashes} crashes in a row; see {self._log}"
            return
        backoff = FIRST_BACKOFF_SECONDS * 2 ** (self._crashes - 1)
        self.state, self._due = "waiting", self._clock() + backoff
        self.note = f"{ending}: started again in {backoff:g} s (crash {self._crashes} of {CRASHES_IN_A_ROW} in a row)"

    def _tail(self) -> tuple[str, ...]:
        return _last_lines(self._output.fileno(), self._log_start)  # also of a log that was removed


def _waiting_for(status: int, logs: Path) -> str:
    """What a worker with this exit status waits for, and since when."""
    left = room_left(logs) if status == DISK else ""  # the log may have no room to tell it
    since = f"waits for {_WAITS_FOR[status]}, since {time.strftime('%H:%M')}"
    return f"{since}: started again every {OUTAGE_SECONDS:g} s" + (f"; {left}" if left else "")


def _last_lines(handle: int, begin: int) -> tuple[str, ...]:
    """The last lines of a file behind its byte `begin`."""
    start = max(begin, os.fstat(handle).st_size - _TAIL_BYTES)
    lines = os.pread(handle, _TAIL_BYTES, start).decode(errors="replace").splitlines()
    return tuple([line.rstrip() for line in lines if line.strip()][-LAST_LINES:])


def _own_log(folder: Path, number: int) -> tuple[Path, BinaryIO]:
    """The first log from `worker-NUMBER.log` on that no process writes; its lock holds while the file is open."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        path = folder / f"worker-{number}.log"
        if path.is_symlink():
            raise SupervisorError(f"{path}: a link, which is not followed; remove it")
        file = open(path, "a+b", opener=no_follow)  # noqa: SIM115, the caller closes it
        if try_lock(file.fileno()):
            return path, file
        file.close()  # another run in this folder writes it, or a worker that outlived one
        number += 1


def _has_ended(pid: int) -> bool:
    """Whether a child has ended. It keeps its process id and its status until it is waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(leader: int) -> None:
    """Kill a process and all that it started, which would keep memory of the device."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _in_words(status: int) -> str:
    """An exit status of a process as part of a sentence."""
    if status >= 0:
        return f"exited with status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"was ended by {name}" + (" (the system does that when memory runs out)" if name == "SIGKILL" else "")
