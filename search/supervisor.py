"""One worker process for each slot: started, looked after, started again when it crashes, ended with the run.

It knows processes, not trials: it must never open the database or import torch, and of a worker it sees only
the exit status and the last lines of its log.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foldrace import FoldraceError
from search.devices import Slot

TICK_SECONDS = 0.25
FIRST_BACKOFF_SECONDS = 1.0  # doubled with each further crash in a row
SETTLED_SECONDS = 30.0  # a worker that ran this long has done more than start: its next crash counts as the first
CRASHES_IN_A_ROW = 5  # then it is given up
GRACE_SECONDS = 60.0  # from SIGTERM to SIGKILL; a worker lets go at its next `Progress`, within seconds
KILL_SECONDS = 2.0  # a process inside a driver call can outlive SIGKILL: do not wait for it longer
LAST_LINES = 5
USER_ERROR = 2  # a worker's exit status after it printed a FoldraceError

_TAIL_BYTES = 16 * 1024
_LET_GO = (0, 128 + signal.SIGTERM, -signal.SIGTERM)  # statuses of a worker that was asked to end and did
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

State = Literal["running", "waiting", "done", "refused", "given up", "stopped"]


class SupervisorError(FoldraceError):
    """A worker process cannot be started."""


@dataclass(frozen=True)
class WorkerView:
    """What the user may see of a worker.

    `state`: running; waiting (to be started, or started again); done (nothing left to do); refused (a user error);
    given up (crashed too often); stopped (with the run). `note`: one line on how it last ended badly and what
    follows, and `last_lines` of its log at that moment; both empty when it never did.
    """

    slot: Slot
    state: State
    pid: int | None
    restarts: int
    note: str
    last_lines: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Snapshot:
    """Every worker, and in `stopping` why the run ends before its work does ("" while it does not)."""

    workers: tuple[WorkerView, ...]
    stopping: str


class Supervisor:
    """Runs one process for each slot until the work is done or the run is stopped.

    Args:
        command: the command line of a slot's worker. The worker should call `end_with_parent` first.
        slots: where the workers run.
        log_folder: `worker-N.log` in it gets what worker N prints, after what is there already.
        clock: seconds that only go forward. pause: waits so many seconds. Both are moved by tests.
    """

    def __init__(
        self,
        command: Callable[[Slot], Sequence[str]],
        slots: Sequence[Slot],
        log_folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._workers = [_Worker(slot, command, log_folder / f"worker-{slot.index}.log", clock) for slot in slots]
        self._clock = clock
        self._pause = pause
        self._signals: list[int] = []
        self._status: int | None = None  # set when the run is told to stop
        self._stopping = ""
        self._deadline = 0.0

    def run(self, on_tick: Callable[[Snapshot], None]) -> int:
        """Start the workers and return when none is left; called in the main thread, once.

        `on_tick` gets a snapshot about four times a second, and a last one at the end. When it raises, the workers
        are stopped as by a signal before the error goes on.

        Returns the exit status of the run:
            0: every worker found nothing left to do.
            1: a worker was given up (the others went on until they were done).
            2: a worker met a user error, so all were stopped.
            130, 143: stopped by SIGINT or SIGTERM. The workers saved their trials and let go of them, and the
            same command continues the study. A second signal kills the workers at once; their trials are then
            continued from their last checkpoints.
        Raises SupervisorError when a process cannot be started.
        """
        with self._heeding_signals():
            try:
                while self._advance():
                    on_tick(self.snapshot())
                    self._pause(TICK_SECONDS)
            except BaseException:
                self._stop(1, "")
                while self._advance():
                    self._pause(TICK_SECONDS)
                raise
            on_tick(self.snapshot())
        if self._status is not None:
            return self._status
        return int(any(worker.state == "given up" for worker in self._workers))

    def snapshot(self) -> Snapshot:
        return Snapshot(tuple(worker.view() for worker in self._workers), self._stopping)

    def _advance(self) -> bool:
        """Heed the signals and look after each worker. Whether any is left to wait for."""
        signals, self._signals = self._signals, []
        if signals:  # several within one tick are one: a launcher often passes on what the terminal sent as well
            self._heed(signal.Signals(signals[0]).name, signals[0])
        for worker in self._workers:
            worker.look()
        refused = next((worker for worker in self._workers if worker.state == "refused"), None)
        if refused is not None:
            self._stop(USER_ERROR, refused.note)
        if self._status is not None and self._clock() >= self._deadline:
            self._kill(f"not every worker let go within {GRACE_SECONDS:g} s")
        return any(worker.state in ("running", "waiting") for worker in self._workers)

    def _heed(self, name: str, signum: int) -> None:
        if self._status is not None:
            self._kill(f"{name} came while the workers were letting go")
            return
        self._stop(
            128 + signum,
            f"{name} reached foldrace (process {os.getpid()} on {socket.gethostname()}): the workers save their trials "
            "and let go of them, within seconds; the same command continues the study; a second signal ends it at once",
        )

    def _stop(self, status: int, why: str) -> None:
        """Ask every worker to end. The first reason to stop is the one that is told."""
        if self._status is not None:
            return
        self._status, self._stopping = status, why
        self._deadline = self._clock() + GRACE_SECONDS
        for worker in self._workers:
            worker.ask_to_end()

    def _kill(self, why: str) -> None:
        left = [worker for worker in self._workers if worker.state == "running"]
        for worker in left:
            worker.kill()
        for worker in left:
            worker.bury()
        if left:
            names = ", ".join(worker.name for worker in left)
            self._stopping = (
                f"{why}: {names} killed; the same command continues each trial from its last checkpoint, "
                "once its lease has run out"
            )

    @contextmanager
    def _heeding_signals(self) -> Iterator[None]:
        def note(signum: int, _frame: object) -> None:
            self._signals.append(signum)

        before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


class _Worker:
    """A slot's process, over all its restarts."""

    def __init__(
        self, slot: Slot, command: Callable[[Slot], Sequence[str]], log: Path, clock: Callable[[], float]
    ) -> None:
        self.state: State = "waiting"
        self.note = ""
        self.name = f"worker {slot.index} ({slot.device})"
        self._slot, self._command, self._log, self._clock = slot, command, log, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._last_lines: tuple[str, ...] = ()
        self._log_start = 0  # bytes in the log before this process
        self._starts = 0
        self._crashes = 0  # in a row
        self._started = 0.0
        self._due = clock()
        self._asked = False

    def view(self) -> WorkerView:
        pid = self._process.pid if self._process is not None else None
        restarts = max(0, self._starts - 1)
        return WorkerView(self._slot, self.state, pid, restarts, self.note, self._last_lines, self._log)

    def look(self) -> None:
        """Start the process when it is due; take note when it ended."""
        if self.state == "waiting" and self._clock() >= self._due:
            self._start()
        elif self._process is not None and _has_ended(self._process.pid):
            _kill_group(self._process.pid)  # before wait: until then nobody else can have its number
            status = self._process.wait()
            self._process = None
            self._ended(status)

    def ask_to_end(self) -> None:
        """SIGTERM to the process alone: were its own children to get it too, it would see them crash."""
        self._asked = True
        if self._process is not None:
            self._process.terminate()
        elif self.state == "waiting":
            self.state = "stopped"

    def kill(self) -> None:
        if self._process is not None:
            _kill_group(self._process.pid)

    def bury(self) -> None:
        """Wait a moment for a killed process, and go on without it."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_SECONDS)
        self._process, self.state = None, "stopped"

    def _start(self) -> None:
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    self._command(self._slot),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **self._slot.environment()},
                    start_new_session=True,  # the terminal's Ctrl-C is the supervisor's to hand on
                )
        except OSError as error:
            raise SupervisorError(f"{self.name} cannot be started: {error}") from None
        self.state, self._started = "running", self._clock()
        self._starts += 1

    def _ended(self, status: int) -> None:
        if status == 0 or (self._asked and status in _LET_GO):
            self.state = "stopped" if self._asked else "done"
            return
        self._last_lines = self._tail()
        if status == USER_ERROR:
            self.state = "refused"
            self.note = (
                self._last_lines[-1] if self._last_lines else f"{self.name} exited with status 2; see {self._log}"
            )
        elif self._asked:
            self.state, self.note = "stopped", f"{self.name} {_how(status)} while it let go; see {self._log}"
        else:
            self._crashed(status)

    def _crashed(self, status: int) -> None:
        lasted = self._clock() - self._started
        self._crashes = 1 if lasted >= SETTLED_SECONDS else self._crashes + 1
        ending = f"{self.name} {_how(status)} after {lasted:.0f} s"
        if self._crashes == CRASHES_IN_A_ROW:
            self.state = "given up"
            self.note = f"{ending}: given up after {self._crashes} crashes in a row; see {self._log}"
            return
        backoff = FIRST_BACKOFF_SECONDS * 2 ** (self._crashes - 1)
        self.state, self._due = "waiting", self._clock() + backoff
        self.note = f"{ending}: started again in {backoff:g} s (crash {self._crashes} of {CRASHES_IN_A_ROW} in a row)"

    def _tail(self) -> tuple[str, ...]:
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return tuple([line.rstrip() for line in lines if line.strip()][-LAST_LINES:])


def end_with_parent(parent: int) -> None:
    """Arrange that this process gets SIGTERM as soon as `parent` is gone, even if that was killed.

    Called by a worker at its start, with the process id of the supervisor that started it directly. Linux sends
    the signal itself (when the thread that started this process ends: `Supervisor.run` is in the main thread);
    elsewhere a thread looks once a second. A parent that was gone before the call counts as well.
    """
    if not _ask_kernel_for_sigterm():
        threading.Thread(target=_watch_parent, args=(parent,), name="watch-parent", daemon=True).start()
    elif os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _ask_kernel_for_sigterm() -> bool:
    if sys.platform != "linux":
        return False
    prctl = ctypes.CDLL(None).prctl
    return bool(prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM)) == 0)


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; it keeps its number and its status until it is waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(leader: int) -> None:
    """End a process and whatever it started, which would hold on to the device's memory."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _how(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"exited with status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"was ended by {name}" + (" (the system does that when memory runs out)" if name == "SIGKILL" else "")
