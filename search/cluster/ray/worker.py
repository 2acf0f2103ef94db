"""The worker of an actor, as the supervisor sees it: it is asked from afar, and an answer may not come.

Nothing here waits for the cluster: a supervisor has signals to heed.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from foldrace.search.cluster.ray.actor import ActorView
from foldrace.search.workers.process import State, WorkerView
from foldrace.search.workers.slots import Slot

ASK_SECONDS = 1.0  # between two questions
PLACED_SECONDS = 30.0  # a node that is new to a study unpacks first what travels, and starts a Python


class RayWorker:
    """A worker over all the nodes that it is on.

    Attributes:
        is_placed: whether its actor is on a node; else it waits for a place.
    """

    def __init__(self, index: int, actor: Any, owners: dict[int, str], clock: Callable[[], float] = time.monotonic):
        """A worker whose actor Ray was asked for; `owners` is told the name of its process."""
        self.state: State = "waiting"
        self.note = ""
        self.name = f"worker {index}"
        self.is_placed = False
        self._slot = Slot(index, "", 0)
        self._actor, self._owners, self._clock = actor, owners, clock
        self._answer: Any = actor.view.remote()
        self._seen: ActorView | None = None
        self._losses = 0
        self._is_asked_to_end = False
        self._since = self._due = clock()

    @property
    def index(self) -> int:
        """Its number in the run."""
        return self._slot.index

    @property
    def has_ended(self) -> bool:
        """Whether nothing comes of it any more."""
        return self.state not in ("running", "waiting")

    def view(self) -> WorkerView:
        """The worker as it was last seen."""
        if self._seen is None:
            return WorkerView(self._slot, self.state, None, 0, self.note, (), Path(), died=False)
        seen = self._seen.worker
        if self.is_placed:
            return replace(seen, state=self.state, note=self.note, restarts=seen.restarts + self._losses)
        return replace(seen, state=self.state, note=self.note, pid=None, last_lines=(), died=False)

    def poll(self) -> None:
        """Read the answer to the last question, and ask the next one."""
        import ray

        if self.has_ended:
            return
        if self._answer is None:
            if self._clock() >= self._due:
                self._answer = self._actor.view.remote()
        elif ray.wait([self._answer], timeout=0)[0]:
            answer, self._answer = self._answer, None
            self._due = self._clock() + ASK_SECONDS
            try:
                self._see(ray.get(answer))
            except ray.exceptions.RayError as error:
                self._lose(error)
        if not self.is_placed and self._seen is None and self._clock() - self._since > PLACED_SECONDS:
            self.note = f"{self.name} waits for its place in the cluster: none is free, or the node is slow"

    def terminate(self) -> None:
        """Have the worker save and end; one without a place ends at once."""
        self._is_asked_to_end = True
        if self.is_placed:
            self._actor.terminate.remote()
        elif not self.has_ended:
            self._end("stopped")

    def kill(self) -> None:
        """End the actor, and with it the process."""
        import ray

        with suppress(ray.exceptions.RayError, ValueError):
            ray.kill(self._actor)

    def reap(self) -> None:
        """Nothing is waited for: its node ends it."""
        self.state = "stopped"

    def close(self) -> None:
        """Give back its place in the cluster."""
        self.kill()

    def _see(self, view: ActorView) -> None:
        moved = "" if self._seen is None or self.is_placed else f"{self.name} went on on node {view.node}"
        self.note = view.worker.note or moved or (self.note if self.is_placed else "")
        self._seen, self.is_placed = view, True
        self._slot, self.state = view.worker.slot, view.worker.state
        if view.owner is not None:
            self._owners[self.index] = view.owner
        if self.has_ended:
            self._end(self.state)

    def _lose(self, error: Exception) -> None:
        """Note that the actor does not answer: Ray makes it anew, unless it cannot be made at all."""
        import ray

        if self._is_asked_to_end:
            self._end("stopped")
        elif isinstance(error, ray.exceptions.ActorDiedError):
            self.note = f"{self.name} is given up: {' '.join(str(error).split())}"
            self._end("given up")
        elif self.is_placed:
            node = "" if self._seen is None else f" {self._seen.node}"
            self.note = f"{self.name} lost its node{node}: Ray starts it again where there is room"
            self.state, self.is_placed = "waiting", False
            self._losses += 1
            self._since = self._clock()

    def _end(self, state: State) -> None:
        self.state = state
        self.kill()
