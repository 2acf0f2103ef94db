"""The line after a command that says what comes next, for people: never in a pipe, never beside JSON."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from foldrace.storage.workspace import WORKSPACE

if TYPE_CHECKING:
    from foldrace.search.monitor.status import StudyStatus


def say_next(command: str, study: str | Path, workspace: Path = WORKSPACE) -> None:
    """Print `next: foldrace COMMAND STUDY`, at a terminal; a path as it is seen from the current folder."""
    if isinstance(study, Path) and study.is_relative_to(Path.cwd()):
        study = study.relative_to(Path.cwd())
    options = [] if workspace == WORKSPACE else ["--workspace", str(workspace)]
    _say(shlex.join(["foldrace", *command.split(), str(study), *options]))


def say_next_of_run(status: "StudyStatus", study: str | Path, workspace: Path = WORKSPACE) -> None:
    """What comes next for a search or a final job: go on with it, watch it, or use what it gave."""
    if status.state in ("running", "paused", "stopping"):
        say_next("resume" if status.state == "paused" else "status --watch", study, workspace)
    elif status.unfinished and not status.is_final:
        say_next("run", study if Path(study).is_file() else status.study.name, workspace)
    elif status.name.partition("/")[2].startswith("final-"):
        say_next("report", workspace / status.name, workspace)
    elif status.best is not None:
        say_next("export", status.study.name, workspace)


def say_next_of_report(folder: Path, study: str, workspace: Path = WORKSPACE) -> None:
    """What comes next after the report of a run's or a final job's folder: to export, or to hand in the submission."""
    from foldrace.search.ensemble.job import FinalError, read_summary

    try:
        _say(f"hand in {folder.parent / read_summary(folder).submission}")
    except FinalError:
        say_next("export", study, workspace)


def _say(step: str) -> None:
    if sys.stdout.isatty():
        typer.echo(f"next: {step}")
