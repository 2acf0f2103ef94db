"""As many workers as a cluster has room for, between two bounds."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foldrace.errors import short_repr
from foldrace.search.cluster.ray.connection import RayError
from foldrace.search.cluster.ray.places import Places
from foldrace.search.cluster.ray.worker import RayWorker
from foldrace.search.workers.slots import MOST_WORKERS

RESIZE_SECONDS = 5.0  # between two looks at what is free


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

    def wanted(self, placed: int, waiting: int, places: Places) -> int:
        """How many workers there should be.

        Args:
            placed: workers that are on a node.
            waiting: those that are on none yet, or no more; for them, what is free is meant.
        """
        if waiting:
            return max(self.least, min(placed + waiting, places.all))
        return min(self.most, max(self.least, placed + places.free))


class RayCrew:
    """The workers of a run, which grow and shrink with the cluster.

    Args:
        begin: asks the cluster for a worker with this number.
        count_places: of the cluster, by now.
    """

    def __init__(
        self,
        bounds: Bounds,
        begin: Callable[[int], RayWorker],
        count_places: Callable[[], Places],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bounds, self._begin, self._count_places, self._clock = bounds, begin, count_places, clock
        self._workers: list[RayWorker] = []
        self._due = clock()

    def __call__(self) -> Sequence[RayWorker]:
        """The workers by now; `Supervisor` asks at each tick."""
        if self._clock() >= self._due:
            self._due = self._clock() + RESIZE_SECONDS
            self._resize()
        return self._workers

    def _resize(self) -> None:
        waiting = [worker for worker in self._workers if not worker.is_placed and not worker.has_ended]
        placed = len(self._workers) - len(waiting)
        is_done = any(worker.state == "done" for worker in self._workers)  # then nothing is left to do
        wanted = placed if is_done else self._bounds.wanted(placed, len(waiting), self._count_places())
        for worker in waiting[max(wanted - placed, 0) :]:
            worker.terminate()
            self._workers = [each for each in self._workers if each is not worker]
        taken = {worker.index for worker in self._workers}
        unused = (index for index in range(MOST_WORKERS) if index not in taken)
        added = [self._begin(next(unused)) for _ in range(wanted - len(self._workers))]
        self._workers = [*self._workers, *added]
