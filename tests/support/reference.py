"""The page docs/reference.md: `python -m tests.support.reference` writes it, and a test holds it to the commands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from foldrace.search.cli.main import app
from foldrace.studies.knobs import Hyperparameters, bounds, is_numeric, is_searchable

PAGE = Path(__file__).parents[2] / "docs/reference.md"
_PLAIN = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
_HEAD = """# Reference

Written by `python -m tests.support.reference` from the commands and the table of knobs; a test holds it to both.

`STUDY` is a study file or the name of a shipped study; for commands that look at a run, also the name of that run.
"""


def _names(group: Any, before: str = "") -> Iterator[str]:
    """Every command by its words, as `database start`."""
    for name, command in group.commands.items():
        yield from _names(command, f"{name} ") if hasattr(command, "commands") else [f"{before}{name}"]


COMMANDS = tuple(_names(typer.main.get_command(app)))


def help_of(command: str) -> str:
    """What `foldrace COMMAND --help` prints on a terminal of 100 columns."""
    printed = CliRunner().invoke(app, [*command.split(), "--help"], env=_PLAIN, prog_name="foldrace").output
    return "\n".join(line.rstrip() for line in printed.splitlines()).strip()


def page() -> str:
    """The whole page, as Markdown."""
    commands = [f"## foldrace {command}\n\n```text\n{help_of(command)}\n```\n" for command in COMMANDS]
    return "\n".join([_HEAD, *commands, _knobs()])


def _knobs() -> str:
    rows = [_knob(name) for name in Hyperparameters.model_fields]
    intro = "The keys of `[training]`. A value fixes a knob. A range or a list of choices searches it.\n"
    head = "| knob | default | bounds | unit | can be searched | meaning |\n|---|---|---|---|---|---|"
    return "\n".join(["## Knobs\n", intro, head, *rows, ""])


def _knob(name: str) -> str:
    field = Hyperparameters.model_fields[name]
    low, high = bounds(name)
    extra = field.json_schema_extra
    unit = extra["unit"] if isinstance(extra, dict) else ""
    if is_numeric(name):
        is_open = any(hasattr(constraint, "lt") for constraint in field.metadata)
        said = f"{low:g} to {'below ' * is_open}{high:g}"
    else:
        choices = getattr(field.annotation, "__args__", (True, False))
        said = ", ".join(f"`{str(choice).lower()}`" for choice in choices)
    default = str(field.default).lower() if isinstance(field.default, bool) else field.default
    searched = "yes" if is_searchable(name) else "no"
    return f"| `{name}` | `{default}` | {said} | {unit} | {searched} | {field.description} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
