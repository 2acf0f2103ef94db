"""A study -> the batch script of its workers. Nothing is asked or started here."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from foldrace.studies.sections import Slurm
from foldrace.studies.study import Study, StudyError

_WARNING_SECONDS = 120  # before the time limit; a worker saves its fold meanwhile


def job_name(study: Study) -> str:
    """The name of a study's jobs."""
    return f"foldrace-{study.name}"


def job_script(study: Study, worker: Sequence[str], logs: Path) -> str:
    """The script of a job array with one worker in each task, each of which may be killed and started again.

    The worker takes the place of the shell: Slurm's signal before the time limit reaches it.

    Args:
        worker: its command line.
        logs: the folder of what the workers print.
    """
    directives = [f"#SBATCH {option}" for option in _options(study, logs)]
    return "\n".join(["#!/bin/bash", *directives, "", *study.slurm.setup, f"exec {shlex.join(worker)}", ""])


def refuse_short_time(study: Study) -> None:
    """Raise StudyError where a worker's time would be over before its first checkpoint is due."""
    seconds, minutes = study.slurm.seconds, study.search.checkpoint_minutes
    if seconds is not None and seconds < 60 * minutes:
        found = f"slurm.time = {study.slurm.time}: shorter than the {minutes:g} minutes between two checkpoints"
        raise StudyError(f"{found}; give it more time, or lower search.checkpoint_minutes")


def _options(study: Study, logs: Path) -> list[str]:
    asked = study.slurm
    given = {
        "partition": asked.partition,
        "account": asked.account,
        "gres": f"gpu:{asked.gpus}" if asked.gpus else None,
        "cpus-per-task": asked.cpus,
        "mem": asked.memory,
        "time": _time(asked),
    }
    _refuse_folder(logs)
    output = str(logs / "slurm-").replace("%", "%%") + "%A_%a.log"
    return [
        f"--job-name={job_name(study)}",
        f"--array=0-{asked.tasks - 1}",
        *(f"--{name}={value}" for name, value in given.items() if value is not None),
        "--requeue",
        "--open-mode=append",
        f"--signal=B:TERM@{_warning(asked)}",
        f"--output={_quoted(output)}",
        *asked.extra,
    ]


def _refuse_folder(logs: Path) -> None:
    """Raise StudyError for a folder that no directive can name: a line end would begin a directive of its own."""
    if not str(logs).isprintable() or any(one in str(logs) for one in '"\\'):
        right = "sbatch takes no path with a line end, a double quote or a backslash; --workspace names another one"
        raise StudyError(f"{logs}: {right}")


def _time(asked: Slurm) -> str | None:
    """The time limit as Slurm writes it, in whole minutes."""
    if asked.seconds is None:
        return None
    hours, minutes = divmod(math.ceil(asked.seconds / 60), 60)
    return f"{hours:02}:{minutes:02}:00"


def _warning(asked: Slurm) -> int:
    return _WARNING_SECONDS if asked.seconds is None else min(_WARNING_SECONDS, int(asked.seconds / 4))


def _quoted(text: str) -> str:
    """A value in a directive, which sbatch splits at spaces that no quotes hold."""
    return f'"{text}"' if " " in text else text
