"""The trackers that a study chose: what ends is told to each of them, in the words of the retrospective's table.

A tracker's package is imported only when it is chosen. One that fails is a line in the log, never a failed trial.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from foldrace.storage.errors import StorageError

REST_SECONDS = 600.0  # a tracker that failed is left alone for so long: its server may be down
Parameter = bool | int | float | str
Points = Sequence[tuple[int, float]]
NOTICES = {"neptune": "the hosted service closed on 2026-03-05; the record is kept offline, with the run"}
_USER = re.compile(r"//[^/@\s]+@")  # name and password in a URL

logger = logging.getLogger("foldrace.tracking")


@dataclass(frozen=True)
class TrackedStudy:
    """Whose records they are. `fingerprint` tells two studies of one name apart; `folder` holds the run's files."""

    name: str
    fingerprint: str
    folder: Path


@dataclass(frozen=True)
class Record:
    """A trial, or a final job, that has ended.

    Attributes:
        name: "trial-00003", "final-1".
        number: the trial's; None for a final job.
        state: COMPLETE, PRUNED or FAIL.
        value: what the trial is ranked by.
        parameters: the value of each knob.
        series: (step, value) points by name, as in "0-th val_acc_score"; values are finite.
        values, texts: single numbers and words by name.
        pictures: PNG files by name.
    """

    name: str
    number: int | None
    state: str
    value: float | None
    parameters: Mapping[str, Parameter]
    series: Mapping[str, Points]
    values: Mapping[str, float]
    texts: Mapping[str, str]
    pictures: Mapping[str, bytes]


class Tracker(Protocol):
    """One tracker, open; any of its own errors may pass through."""

    def log(self, record: Record) -> None: ...

    def close(self) -> None: ...


class Trackers:
    """The chosen trackers, each opened when there is something to tell. Nothing here raises."""

    def __init__(self, chosen: Sequence[str], study: TrackedStudy, clock: Callable[[], float] = time.monotonic) -> None:
        self._study, self._clock = study, clock
        self._open: dict[str, Tracker] = {}
        self._resting = {kind: -float("inf") for kind in chosen}  # until when

    def __bool__(self) -> bool:
        return bool(self._resting)

    def log(self, record: Record) -> None:
        """Tell every tracker that is not resting."""
        for kind, until in self._resting.items():
            if self._clock() >= until:
                self._log(kind, record)

    def close(self) -> None:
        """End what is open."""
        for kind, tracker in self._open.items():
            try:
                tracker.close()
            except Exception as error:
                logger.warning("tracker %s: %s", kind, _one_line(error))
        self._open = {}

    def _log(self, kind: str, record: Record) -> None:
        try:
            if kind not in self._open:
                self._open[kind] = _opened(kind, self._study)
            self._open[kind].log(record)
        except StorageError as error:  # its package is missing: it will be missing later, too
            self._resting[kind] = float("inf")
            logger.warning("tracker %s: %s; it is not told of anything", kind, error)
        except Exception as error:
            self._resting[kind] = self._clock() + REST_SECONDS
            lost = f"{record.name} is not in it, and for {REST_SECONDS / 60:.0f} minutes it is not told of anything"
            logger.warning("tracker %s: %s; %s", kind, _one_line(error), lost)


def _opened(kind: str, study: TrackedStudy) -> Tracker:
    try:
        if kind == "neptune":
            from foldrace.storage.trackers.neptune import NeptuneTracker

            return NeptuneTracker(study)
        if kind == "mlflow":
            from foldrace.storage.trackers.mlflow import MlflowTracker

            return MlflowTracker(study)
        from foldrace.storage.trackers.tensorboard import TensorboardTracker

        return TensorboardTracker(study)
    except ImportError as error:
        extra = "neptune-client" if kind == "neptune" else f"'foldrace[{kind}]'"
        raise StorageError(f"its package cannot be imported ({_one_line(error)}); pip install {extra}") from error


def _one_line(error: Exception) -> str:
    text = " ".join(_USER.sub("//***@", str(error)).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
