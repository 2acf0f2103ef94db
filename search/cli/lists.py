"""The commands that list: `trials` of a run, the runs of a workspace."""

import json
from typing import Annotated

import typer

from foldrace.errors import FoldraceError, hide_passwords
from foldrace.search.api import inspect
from foldrace.search.api.naming import find_workspace, split_job
from foldrace.search.cli.next_step import say_next
from foldrace.search.cli.options import (
    JsonOption,
    RunNameOption,
    RunOrJobArgument,
    RunSetOption,
    WorkspaceOption,
    load_run,
    print_lines,
)
from foldrace.storage.workspace import WORKSPACE


def trials(
    study: RunOrJobArgument,
    top: Annotated[int | None, typer.Option("--top", min=1, help="Only the best so many, the best first.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_json: JsonOption = False,
    set_: RunSetOption = [],
    name: RunNameOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """List the trials of a search, or the folds of a final job: state, score, folds, knobs, why each was stopped."""
    workspace = find_workspace(study, workspace, name)
    if as_csv and as_json:
        raise FoldraceError("--csv and --json: one of them")
    run, job = split_job(study)
    table = inspect.trial_table(load_run(run, set_, name, workspace), job=job, top=top, workspace=workspace)
    if as_csv:
        typer.echo(table.to_csv(), nl=False)
    elif as_json:
        typer.echo(json.dumps(table.records(), ensure_ascii=False))
    else:
        typer.echo(table)
        if job is None and any(row.state == "COMPLETE" for row in table.rows):
            say_next("export", study, workspace)


def list_(
    workspace: WorkspaceOption = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", metavar="URL", help="List the studies of a database; workspace: of the folder's own."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs of a workspace: state, trials, best, final jobs, workers, when something happened last."""
    from foldrace.search.monitor.run_list import run_lines

    workspace = WORKSPACE if workspace is None else workspace
    runs = inspect.list_runs(workspace, storage=storage)
    if as_json:
        typer.echo(json.dumps([run.to_json() for run in runs], ensure_ascii=False))
        return
    none = f"no runs in {workspace}" if storage is None else f"no studies in {storage}"
    print_lines(run_lines(runs) or [hide_passwords(none)])
    if storage is None and runs and not runs[0].error:
        say_next("status", runs[0].name, workspace)
