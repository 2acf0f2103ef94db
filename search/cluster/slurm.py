"""What is asked of Slurm, by its own commands; what it refuses is told in its own words."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from foldrace.errors import FoldraceError
from foldrace.storage.workspace import Workspace

_PREFIX = re.compile(r"^\w+: (error|fatal): ")
PAUSES = (1.0, 5.0, 15.0)  # seconds, before what failed is asked again
_SECONDS = 60.0  # a controller that is busy answers late
FOLDER = "slurm"  # in that of a run: JOB.sh, and how often each task was started again for nothing


class SlurmError(FoldraceError):
    """Slurm is not there, or refuses."""


class NotRequeuedError(SlurmError):
    """Slurm did not take a task back whose work is left: the exit status says it, as a signal would."""

    status = 128 + signal.SIGTERM


@dataclass(frozen=True)
class QueuedTask:
    """A task of a job array that waits for a place.

    Attributes:
        task: as 48213_3, or 48213_[3-7].
        reason: in Slurm's word, as Resources.
    """

    task: str
    partition: str
    reason: str

    def __str__(self) -> str:
        return f"{self.task} waits on {self.partition} ({self.reason})"


def jobs_of(workspace: Workspace) -> Sequence[int]:
    """The numbers of the jobs that were submitted for a run."""
    return sorted(int(path.stem) for path in (workspace.folder / FOLDER).glob("*.sh") if path.stem.isdecimal())


def refuse_absent() -> None:
    """Raise SlurmError where Slurm is not on this machine."""
    if shutil.which("sbatch") is None:
        raise SlurmError("no sbatch on this machine; submit where Slurm is, or --print the script and sbatch it there")


def submit_script(script: str) -> int:
    """Submit a batch script; returns the number of the job. Raises SlurmError."""
    told = _ask(["sbatch", "--parsable"], script)
    match = re.match(r"(\d+)", told.strip().splitlines()[-1] if told.strip() else "")
    if match is None:
        raise SlurmError(f"sbatch told no number of a job: {told.strip()!r}")
    return int(match[1])


def partition_of(job: int) -> str:
    """The partition of a job, in words. Raises SlurmError."""
    return ", ".join(sorted(set(_ask(["squeue", "--noheader", f"--jobs={job}", "--format=%P"]).split())))


def queued_tasks(jobs: Sequence[int]) -> list[QueuedTask]:
    """The tasks of these jobs that still wait; none where Slurm is not there or has forgotten them."""
    if not jobs:
        return []
    asked = ",".join(map(str, jobs))
    try:
        told = _ask(["squeue", "--noheader", "--states=PENDING", f"--jobs={asked}", "--format=%i|%P|%r"])
    except SlurmError:
        return []
    rows = [line.strip().split("|") for line in told.splitlines()]
    return [QueuedTask(*row) for row in rows if len(row) == 3]


def cancel_queued(jobs: Sequence[int]) -> bool:
    """Let go the tasks of these jobs that still wait, not those that run; False where none did. Raises SlurmError."""
    queued = sorted({int(row.task.partition("_")[0]) for row in queued_tasks(jobs)})
    if queued:
        _ask(["scancel", "--state=PENDING", *map(str, queued)])
    return bool(queued)


def restarts() -> int:
    """How often Slurm has started this task again."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def is_running(task: str) -> bool:
    """Whether Slurm lets a task run: one that it ends, by its user's wish or for a job before it, is none."""
    return _insist(["squeue", "--noheader", f"--jobs={task}", "--format=%T"]).strip() == "RUNNING"


def requeue(task: str) -> None:
    """Have Slurm start a task again, from its beginning, when there is a place. Raises SlurmError."""
    _insist(["scontrol", "requeue", task])


def _insist(command: Sequence[str]) -> str:
    """`_ask`, several times where the controller fails: what a worker asks at its end is asked once in its life."""
    for pause in PAUSES:
        try:
            return _ask(command)
        except SlurmError:
            time.sleep(pause)
    return _ask(command)


def _ask(command: Sequence[str], text: str = "") -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_SECONDS)
    except FileNotFoundError:
        raise SlurmError(f"no {command[0]} on this machine") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmError(f"{command[0]}: {error}") from None
    if done.returncode:
        words = [_PREFIX.sub("", line.strip()) for line in done.stderr.splitlines() if line.strip()]
        raise SlurmError(f"{command[0]}: {'; '.join(words) or f'exited with status {done.returncode}'}")
    return done.stdout
