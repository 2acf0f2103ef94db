"""As many workers as a cluster has room for, between two bounds."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foldrace.errors import short_repr
from foldrace.search.cluster.ray.connection import RayError
from foldrace.search.cluster.ray.worker import RayWorker
from foldrace.search.workers.slots import MOST_WORKERS

RESIZE_SECONDS = 5.0  # between two looks at what is free
PATIENCE_SECONDS = 30.0  # a worker above the least that waited for so long for a place is let go


@dataclass(frozen=True)
class Bounds:
    """How many workers: `least` are asked for, whether there is room or not, and more where there is, up to `most`."""

    least: int = 1
    most: int = MOST_WORKERS

    @classmethod
    def parse(cls, text: str | None) -> "Bounds":
        """The bounds of `--workers`: 8, or 4..16; None: as many as there is room for. Raises RayError."""
        if text is None:
            return cls()
        match = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", text)
        if match is not None:
            least = int(match[1])
            most = int(match[2] or least)
            if 1 <= least <= most <= MOST_WORKERS:
                return cls(least, most)
        right = f"a number from 1 to {MOST_WORKERS}, or two from the least to the most, as in 4..16"
        raise RayError(f"--workers {short_repr(text)}: expected {right}")

    def wanted(self, placed: int, waiting: int, free: int) -> int:
        """How many workers there should be.

        Args:
            placed: workers that have a place. waiting: those that have none.
            free: places that nobody has.
        """
        if waiting:  # for them, what is free is meant
            return max(self.least, placed)
        return min(self.most, max(self.least, placed + free))


class RayCrew:
    """The workers of a run, which grow and shrink with the cluster.

    Args:
        begin: asks the cluster for a worker with this number.
        free_places: how many more workers have room by now.
    """

    def __init__(
        self,
        bounds: Bounds,
        begin: Callable[[int], RayWorker],
        free_places: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bounds, self._begin, self._free_places, self._clock = bounds, begin, free_places, clock
        self._workers: list[RayWorker] = []
        self._due = self._settled = clock()

    def __call__(self) -> Sequence[RayWorker]:
        """The workers by now; `Supervisor` asks at each tick."""
        if self._clock() >= self._due:
            self._due = self._clock() + RESIZE_SECONDS
            self._resize()
        return self._workers

    def _resize(self) -> None:
        if any(worker.state == "done" for worker in self._workers):  # nothing is left to do
            self._let_go(0)
            return
        waiting = sum(not worker.is_placed and not worker.has_ended for worker in self._workers)
        placed = len(self._workers) - waiting
        if not waiting:
            self._settled = self._clock()
        wanted = self._bounds.wanted(placed, waiting, 0 if waiting else self._free_places())
        taken = {worker.index for worker in self._workers}
        free = (index for index in range(MOST_WORKERS) if index not in taken)
        self._workers = [*self._workers, *(self._begin(next(free)) for _ in range(wanted - placed - waiting))]
        if waiting and self._clock() - self._settled >= PATIENCE_SECONDS:
            self._let_go(wanted - placed)

    def _let_go(self, waiting: int) -> None:
        """Keep so many of the workers that wait for a place."""
        waits = [worker for worker in self._workers if not worker.is_placed and not worker.has_ended]
        for worker in waits[waiting:]:
            worker.terminate()
        self._workers = [worker for worker in self._workers if worker not in waits[waiting:]]
