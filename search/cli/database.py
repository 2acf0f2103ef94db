"""The commands `foldrace database ...`: a PostgreSQL server that a workspace has for itself."""

from pathlib import Path
from typing import Annotated

import typer

from foldrace.search.api import database
from foldrace.storage.workspace import WORKSPACE

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help='Keep a PostgreSQL server for a workspace, without an administrator: search.storage = "workspace".',
)

WorkspaceOption = Annotated[Path, typer.Option("--workspace", help="The folder that holds the files of all runs.")]


@app.command()
def start(
    host: Annotated[
        str | None,
        typer.Option("--host", help="Listen on this name or address, * for all; else as before, first 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="0: any free one; else as before, first a free one.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Its data, on a local disk; else as before, first in the workspace.")
    ] = None,
    backup: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Begin a new one with what `backup` wrote.")
    ] = None,
    workspace: WorkspaceOption = WORKSPACE,
) -> None:
    """Start the server, which is made where there is none; it runs until `stop`."""
    found = database.start_database(workspace, host=host, port=port, data=data, backup=backup)
    typer.echo(f"{'started' if found.started else 'there already'}: {found}")


@app.command()
def stop(workspace: WorkspaceOption = WORKSPACE) -> None:
    """Stop the server; workers at work wait until it is started again."""
    typer.echo("stopped" if database.stop_database(workspace) else "it did not run")


@app.command()
def url(workspace: WorkspaceOption = WORKSPACE) -> None:
    """Print its URL WITH ITS PASSWORD, for FOLDRACE_STORAGE on machines that do not see the workspace."""
    typer.echo(database.database_url(workspace))


@app.command()
def status(workspace: WorkspaceOption = WORKSPACE) -> None:
    """Say whether the server runs, where, and how many connections it has; exit status 1 where it does not answer."""
    found = database.database_status(workspace)
    typer.echo(found)
    raise typer.Exit(0 if found.state == "running" else 1)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write; `start --from FILE` reads it.")],
    workspace: WorkspaceOption = WORKSPACE,
) -> None:
    """Write all that it holds at this moment into one file, also while workers use it."""
    typer.echo(f"written: {database.backup_database(file, workspace=workspace)}")
