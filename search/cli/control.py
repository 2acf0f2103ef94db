"""The commands that change a run: `pause`, `resume` and `stop` reach its workers, `clean` its files."""

from typing import Annotated

import typer

from foldrace.search.api import control
from foldrace.search.api.naming import find_workspace
from foldrace.search.cli.next_step import say_next
from foldrace.search.cli.options import (
    RunArgument,
    RunNameOption,
    RunSetOption,
    WorkspaceOption,
    load_run,
)
from foldrace.studies.study import Study


def pause(
    study: RunArgument,
    now: Annotated[bool, typer.Option("--now", help="Save and release the trials that run, too.")] = False,
    set_: RunSetOption = [],
    name: RunNameOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Let the workers finish the trials they run, and begin no other."""
    workspace = find_workspace(study, workspace, name)
    run = load_run(study, set_, name, workspace)
    ends = "what runs is saved and released" if now else "what runs goes on to its end (--now: not)"
    if control.pause(run, now=now, workspace=workspace):
        _say(run, f"paused: no trial is begun, and {ends}")
        say_next("resume", study, workspace)
    else:
        _say_ended(run, "pause")


def resume(
    study: RunArgument, set_: RunSetOption = [], name: RunNameOption = None, workspace: WorkspaceOption = None
) -> None:
    """Let the workers of a paused study go on."""
    workspace = find_workspace(study, workspace, name)
    run = load_run(study, set_, name, workspace)
    if control.resume(run, workspace=workspace):
        _say(run, "running")
        say_next("status --watch", study, workspace)
    else:
        _say_ended(run, "resume")


def stop(
    study: RunArgument, set_: RunSetOption = [], name: RunNameOption = None, workspace: WorkspaceOption = None
) -> None:
    """Let every worker save its trial, release it and end; `foldrace run`, or `resume` and new workers, continue."""
    workspace = find_workspace(study, workspace, name)
    run = load_run(study, set_, name, workspace)
    if control.stop(run, workspace=workspace):
        _say(run, "stopping: trials that run are saved and released, and the workers end")
        say_next("run", run.name, workspace)
    else:
        _say_ended(run, "stop")


def clean(
    study: RunArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    set_: RunSetOption = [],
    name: RunNameOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Say what a run takes on the disk, and remove checkpoints and old models that nobody needs any more."""
    workspace = find_workspace(study, workspace, name)
    cleaned = control.clean(load_run(study, set_, name, workspace), dry_run=dry_run, workspace=workspace)
    typer.echo(cleaned)
    if dry_run and cleaned.waste:
        say_next("clean", study, workspace)
    if cleaned.kept:
        raise typer.Exit(1)


def _say(run: Study, asked: str) -> None:
    typer.echo(f"{run.name}: {asked}; every worker sees it at its next heartbeat")


def _say_ended(run: Study, asked: str) -> None:
    typer.echo(f"{run.name}: has ended; nothing is left to {asked}")
