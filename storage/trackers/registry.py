"""The trackers that a study chose: each of them gets every record.

A tracker's package is imported only when it is chosen. A tracker that fails is a line in the log, never a failed trial.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence

from foldrace.errors import in_one_line
from foldrace.storage.errors import StorageError
from foldrace.storage.trackers.protocol import Record, TrackedStudy, Tracker

PAUSE_SECONDS = 600.0  # a tracker that failed gets no record for so long: its server may be down

logger = logging.getLogger("foldrace.tracking")


class Trackers:
    """The chosen trackers, each opened with its first record. Nothing here raises."""

    def __init__(self, chosen: Sequence[str], study: TrackedStudy, clock: Callable[[], float] = time.monotonic) -> None:
        self._study, self._clock = study, clock
        self._open: dict[str, Tracker] = {}
        self._paused_until = {kind: -float("inf") for kind in chosen}

    def __bool__(self) -> bool:
        return bool(self._paused_until)

    def log(self, record: Record) -> None:
        """Give a record to every tracker that is not paused."""
        for kind, until in self._paused_until.items():
            if self._clock() >= until:
                self._log(kind, record)

    def close(self) -> None:
        """Close every tracker that is open."""
        for kind, tracker in self._open.items():
            try:
                tracker.close()
            except Exception as error:
                logger.warning("tracker %s: %s", kind, in_one_line(error))
        self._open = {}

    def _log(self, kind: str, record: Record) -> None:
        try:
            if kind not in self._open:
                self._open[kind] = _open_tracker(kind, self._study)
            self._open[kind].log(record)
        except StorageError as error:  # its package is missing: it will be missing later, too
            self._paused_until[kind] = float("inf")
            logger.warning("tracker %s: %s; it gets no record", kind, error)
        except Exception as error:
            self._paused_until[kind] = self._clock() + PAUSE_SECONDS
            lost = f"{record.name} is not in it, and it gets no record for {PAUSE_SECONDS / 60:.0f} minutes"
            logger.warning("tracker %s: %s; %s", kind, in_one_line(error), lost)


def _open_tracker(kind: str, study: TrackedStudy) -> Tracker:
    try:
        return OPENERS[kind](study)
    except ImportError as error:
        extra = "neptune-client" if kind == "neptune" else f"'foldrace[{kind}]'"
        raise StorageError(f"its package cannot be imported ({in_one_line(error)}); pip install {extra}") from error


def _open_neptune(study: TrackedStudy) -> Tracker:
    from foldrace.storage.trackers.neptune import NeptuneTracker

    return NeptuneTracker(study)


def _open_mlflow(study: TrackedStudy) -> Tracker:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it reads this when it is imported
    from foldrace.storage.trackers.mlflow import MlflowTracker

    return MlflowTracker(study)


def _open_tensorboard(study: TrackedStudy) -> Tracker:
    from foldrace.storage.trackers.tensorboard import TensorboardTracker

    return TensorboardTracker(study)


OPENERS: dict[str, Callable[[TrackedStudy], Tracker]] = {
    "neptune": _open_neptune,
    "mlflow": _open_mlflow,
    "tensorboard": _open_tensorboard,
}
