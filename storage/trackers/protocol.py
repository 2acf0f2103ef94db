"""What a tracker records, and what it can do. Each tracker has a file of its own beside this one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Parameter = bool | int | float | str
Points = Sequence[tuple[int, float]]
NOTICES = {"neptune": "the hosted service closed on 2026-03-05; the record is kept offline, with the run"}


@dataclass(frozen=True)
class TrackedStudy:
    """The study whose records are kept.

    Attributes:
        fingerprint: tells two studies of one name apart.
        folder: the folder of the study's run.
    """

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
        value: the trial's value in its study; None where it has none.
        parameters: the value of each knob.
        series: (step, value) points by name, as in "0-th val_acc_score"; values are finite.
        values: single numbers by name; they are finite.
        texts: by name.
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
    """An open tracker. Its library's errors pass through."""

    def log(self, record: Record) -> None:
        """Store a record."""

    def close(self) -> None:
        """End what is open."""
