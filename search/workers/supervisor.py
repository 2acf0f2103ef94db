"""The workers of a run: started, started again when it crashes, and ended with the run.

The supervisor knows processes, not trials. It must never open the database or import torch, and of a worker it reads
only the exit status and the last lines of its log.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from foldrace.search.workers.process import GIVEN_UP, USER_ERROR, State, SupervisorError, WorkerProcess, WorkerView
from foldrace.search.workers.signals import handle_signals
from foldrace.search.workers.slots import Slot

__all__ = ["Crew", "Snapshot", "SupervisedWorker", "Supervisor", "SupervisorError", "WorkerView"]

TICK_SECONDS = 0.25
GRACE_SECONDS = 60.0  # from SIGTERM to SIGKILL; a worker stops at its next `Progress`, within seconds


@dataclass(frozen=True)
class Snapshot:
    """Every worker at one moment. `stopping`: why the run ends before its work is done; empty while it goes on."""

    workers: tuple[WorkerView, ...]
    stopping: str


class SupervisedWorker(Protocol):
    """A worker over all its restarts, here or on another machine; `WorkerProcess` is one of this machine."""

    state: State
    note: str
    name: str

    def view(self) -> WorkerView:
        """The worker as it is now."""

    def poll(self) -> None:
        """Start it when it is due; find out how it is."""

    def terminate(self) -> None:
        """Ask it to save and to end."""

    def kill(self) -> None:
        """End it at once."""

    def reap(self) -> None:
        """Wait for its end after `kill`, for seconds at most."""

    def close(self) -> None:
        """Let go what it has open; it has ended."""


Crew = Callable[[], Sequence[SupervisedWorker]]  # the workers that a run has now; it is asked at each tick


def local_crew(
    command: Callable[[Slot], Sequence[str]],
    slots: Sequence[Slot],
    log_folder: Path,
    clock: Callable[[], float] = time.monotonic,
) -> Crew:
    """One worker process for each slot of this machine.

    Args:
        command: the command line of a slot's worker. The worker should call `end_with_parent` first.
        log_folder: what worker N prints is appended to `worker-N.log` in it. While another run writes that file,
            the next N is taken that no process writes.
    """
    workers = [WorkerProcess(slot, command, log_folder, clock) for slot in slots]
    return lambda: workers


class Supervisor:
    """Runs a crew until the work is done or the run is stopped.

    Args:
        crew: is asked for its workers until the run is told to stop.
        clock: seconds that only go forward. pause: waits so many seconds. Tests move both.
    """

    def __init__(
        self,
        crew: Crew,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._crew, self._workers = crew, crew()
        self._clock = clock
        self._pause = pause
        self._signals: list[int] = []
        self._status: int | None = None  # set when the run is told to stop
        self._stopping = ""
        self._deadline = 0.0

    def run(self, on_tick: Callable[[Snapshot], None]) -> int:
        """Start the workers and return when none is left; called once, and in the main thread where signals are heeded.

        `on_tick` gets a snapshot about four times a second, and a last one at the end. When it raises, the workers
        are stopped as by a signal, and then the error is raised.

        Returns:
            The exit status of the run.
            0: every worker found nothing left to do.
            1: a worker was given up; the others went on until they were done.
            2: a worker met a user error, so all were stopped.
            130, 143: stopped by SIGINT or SIGTERM. The workers saved and released their trials, and the same command
            continues the study. A second signal kills the workers at once; their trials are then continued from
            their last checkpoints.

        Raises:
            SupervisorError: a process cannot be started.
        """
        with handle_signals(lambda number, _: self._signals.append(number)):
            try:
                while self._advance():
                    on_tick(self.snapshot())
                    self._pause(TICK_SECONDS)
            except BaseException:
                self._stop(1, "")
                while self._advance():
                    self._pause(TICK_SECONDS)
                raise
            finally:
                for worker in self._workers:
                    worker.close()
            on_tick(self.snapshot())
        if self._status is not None:
            return self._status
        return GIVEN_UP if any(worker.state == "given up" for worker in self._workers) else 0

    def snapshot(self) -> Snapshot:
        """Every worker as it is now."""
        return Snapshot(tuple(worker.view() for worker in self._workers), self._stopping)

    def _advance(self) -> bool:
        """Handle the signals that came, and poll each worker; whether any is left to wait for."""
        signals = self._signals[:]
        del self._signals[: len(signals)]
        if signals:  # several in one tick are one request: a launcher often repeats what the terminal sent
            self._on_signal(signal.Signals(signals[0]).name, signals[0])
        if self._status is None:
            self._workers = self._crew()
        for worker in self._workers:
            worker.poll()
        refused = next((worker for worker in self._workers if worker.state == "refused"), None)
        if refused is not None:
            self._stop(USER_ERROR, refused.note)
        if self._status is not None and self._clock() >= self._deadline:
            self._kill(f"not every worker stopped within {GRACE_SECONDS:g} s")
        return any(worker.state in ("running", "waiting") for worker in self._workers)

    def _on_signal(self, name: str, signum: int) -> None:
        if self._status is not None:
            self._kill(f"{name} came while the workers were stopping")
            return
        self._stop(
            128 + signum,
            f"{name} reached foldrace (process {os.getpid()} on {socket.gethostname()}): the workers save and release "
            "their trials, within seconds; the same command continues the study; a second signal ends it at once",
        )

    def _stop(self, status: int, why: str) -> None:
        """Ask every worker to end, once: the first reason is kept."""
        if self._status is not None:
            return
        self._status, self._stopping = status, why
        self._deadline = self._clock() + GRACE_SECONDS
        for worker in self._workers:
            worker.terminate()

    def _kill(self, why: str) -> None:
        left = [worker for worker in self._workers if worker.state == "running"]
        for worker in left:
            worker.kill()
        for worker in left:
            worker.reap()
        if left:
            names = ", ".join(worker.name for worker in left)
            self._stopping = f"{why}: {names} killed; the same command continues each trial from its last checkpoint"
