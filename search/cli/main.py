"""The command line. What a user can mend is one line and exit status 2; 75, where the same may work later.

Torch and transformers are imported inside the commands that train, never at the top of a module of commands.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import foldrace
from foldrace.errors import FoldraceError, hide_passwords
from foldrace.search.cli import database
from foldrace.search.cli.cluster import submit, worker
from foldrace.search.cli.control import clean, pause, resume, stop
from foldrace.search.cli.inspect import dashboard, export, predict, report, status
from foldrace.search.cli.lists import list_, trials
from foldrace.search.cli.train import check, final, init, rescore, run
from foldrace.storage.errors import as_disk_error

_UsageError: Any = typer.BadParameter.__base__  # of click, which typer holds or brings along


class _Commands(TyperGroup):
    """The commands. What is said of a wrong command line shows no password that is in it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what stands before the command."""
        with _hidden():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Parse the rest, and run the command."""
        with _hidden():
            return super().invoke(ctx)


@contextmanager
def _hidden() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        error.message = hide_passwords(error.message)
        raise


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hyperparameter search for K-fold fine-tuning: race the trials, export the best, hand in the ensemble.",
)

_COMMANDS = (init, check, run, worker, submit, status, trials, dashboard, rescore, export, final, report, predict)
for command in (*_COMMANDS, pause, resume, stop, clean):
    app.command()(command)
app.command("list")(list_)
app.add_typer(database.app, name="database")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(foldrace.__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. May stand after the command too.")] = False,
    version: Annotated[
        bool,  # eager: it needs no command beside it
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """Read by `main`; here only for `--help`."""


def main() -> None:
    """The console script: errors that the user can mend are one line and their exit status; `--debug` shows all."""
    arguments = sys.argv[1:]
    _warn_of_passwords(arguments)
    debug = "--debug" in arguments
    arguments = ["--debug"] * debug + [argument for argument in arguments if argument != "--debug"]
    try:
        with as_disk_error():
            try:
                app(arguments, prog_name="foldrace")
            finally:
                _flush()
    except FoldraceError as error:
        if debug:
            raise
        with suppress(OSError):  # a worker's goes into a log, which the full disk may have no room for
            print(f"foldrace: {error}", file=sys.stderr, flush=True)  # noqa: T201, this is the command line
        sys.exit(error.status)


def _warn_of_passwords(arguments: list[str]) -> None:
    """Say that everybody on the machine reads a command line."""
    if any(hide_passwords(given) != given for given in arguments):
        others = "other users of this machine see the password in the list of processes"
        with suppress(OSError):
            typer.echo(f"warning   {others}; FOLDRACE_STORAGE, PGPASSWORD and ~/.pgpass keep it", err=True)


def _flush() -> None:
    """Write what is left of the output; where that cannot be done, Python must not try again at its end."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:  # who reads a part of it has what he wants
            raise


if __name__ == "__main__":
    main()
