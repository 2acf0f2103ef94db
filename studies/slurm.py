"""The section [slurm] of a study: what each worker asks of Slurm."""

import re
from typing import Annotated

from pydantic import Field, field_validator

from foldrace.studies.data import Section
from foldrace.studies.durations import parse_duration

Word = Annotated[str, Field(pattern=r"^[\w.,@+:/-]+$")]
Line = Annotated[str, Field(pattern=r"^[^\n\r]+$")]
MAX_TASKS = 1000


class Slurm(Section):
    """A job array, one task for each worker.

    Attributes:
        partition, account: those of Slurm; None: its default.
        gpus: of each worker; 0 asks for none.
        cpus, memory: of each worker; None: the cluster's default.
        time: the limit of one life of a worker, such as `11h`; None: the partition's.
        tasks: how many workers.
        setup: lines of the shell before the worker starts.
        extra: further options of sbatch.
    """

    partition: Word | None = None
    gpus: int = Field(1, ge=0)
    cpus: int | None = Field(None, ge=1)
    memory: str | None = Field(None, pattern=r"^\d+[KMGT]?$")
    time: str | None = None
    tasks: int = Field(8, ge=1, le=MAX_TASKS)
    account: Word | None = None
    setup: tuple[Line, ...] = ()
    extra: tuple[Line, ...] = ()

    @property
    def seconds(self) -> float | None:
        """The time limit."""
        return None if self.time is None else parse_duration(self.time)

    @field_validator("time")
    @classmethod
    def _is_a_duration(cls, time: str | None) -> str | None:
        try:
            if time is not None and parse_duration(time) < 60:
                raise ValueError
        except ValueError:
            raise ValueError(f"expected a duration of a minute or more, such as 11h or 90m; found {time!r}") from None
        return time

    @field_validator("extra")
    @classmethod
    def _are_options(cls, extra: tuple[str, ...]) -> tuple[str, ...]:
        wrong = next((option for option in extra if not re.match(r"--[a-z]", option)), None)
        if wrong is not None:
            raise ValueError(f"expected options of sbatch, such as --constraint=a100; found {wrong!r}")
        return extra
