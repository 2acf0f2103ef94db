"""The command line. What a user can mend is one line and exit status 2; 75, where the same may work later.

Torch and transformers are imported inside the commands that train, never at the top of a module of commands.
"""

import errno
import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

import foldrace
from foldrace.errors import FoldraceError
from foldrace.search.cli.control import clean, pause, resume, stop
from foldrace.search.cli.inspect import dashboard, export, predict, report, status
from foldrace.search.cli.lists import list_, trials
from foldrace.search.cli.train import check, final, init, rescore, run, worker
from foldrace.storage.errors import as_disk_error

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hyperparameter search for K-fold fine-tuning: race the trials, export the best, hand in the ensemble.",
)

_COMMANDS = (init, check, run, worker, status, trials, dashboard, rescore, export, final, report, predict)
for command in (*_COMMANDS, pause, resume, stop, clean):
    app.command()(command)
app.command("list")(list_)


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
