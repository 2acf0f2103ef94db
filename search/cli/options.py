"""The options that several commands share, and the study they name."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from foldrace.errors import FoldraceError
from foldrace.search.api.naming import load
from foldrace.studies.study import Study

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of a shipped study.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run, its folder or its study file.")]
RunOrJobArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run, its folder or its study file; or a job, as demo/final-1.")
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        help="The folder that holds the files of all runs.",
        show_default="runs, here or beside the study file",
    ),
]
SetOption = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the study file; repeatable.")
]
RunSetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="A key that the run has otherwise than its file; repeatable."),
]
TrialsOption = Annotated[
    int | None, typer.Option("--trials", min=1, help="How many trials; more than before are queued.")
]
NameOption = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Run it under another name.")]
RunNameOption = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="The run's name, where it was started with --as.")
]
WorkersOption = Annotated[
    str | None,
    typer.Option("--workers", metavar="N", help="Processes on the CPU; at most so many on GPUs. With Ray also 4..16."),
]
EngineOption = Annotated[
    str, typer.Option("--engine", help="local: on this machine; ray: on the nodes of a Ray cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Of the Ray cluster; auto: the one of this machine."),
]
DevicesOption = Annotated[str, typer.Option("--devices", help="auto, cpu, or CUDA indices such as 0,1,3.")]
PerDeviceOption = Annotated[int, typer.Option("--per-device", min=1, help="Workers that share each GPU.")]
FromOption = Annotated[
    list[str],
    typer.Option("--from", metavar="RUN", help="Begin from an earlier run, a .json file, or shipped; repeatable."),
]
WaitOption = Annotated[
    float, typer.Option("--wait", min=0, help="Seconds to wait for a database that does not answer.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def load_study(
    study: str, overrides: list[str], trials: int | None = None, name: str | None = None, priors: Sequence[str] = ()
) -> Study:
    """The study of a file, or a shipped one, with `--set`, `--trials`, `--as` and `--from` applied."""
    overrides = overrides if trials is None else [*overrides, f"search.trials={trials}"]
    asked = load(study, overrides, name=name)
    if not priors:
        return asked
    named = [*asked.search.prior, *(prior for prior in priors if prior not in asked.search.prior)]
    return load(study, [*overrides, f"search.prior={json.dumps(named, ensure_ascii=False)}"], name=name)


def parse_counts(text: str) -> list[int]:
    """The numbers of folds of `--folds`, each once. Raises FoldraceError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,3}", part) and 2 <= int(part) <= 100 for part in parts):
        raise FoldraceError(f"--folds {text}: expected numbers from 2 to 100, as in 5,8,10")
    return list(dict.fromkeys(map(int, parts)))


def load_run(study: str, overrides: list[str], name: str | None, workspace: Path) -> Study:
    """The study of a run; where only its name is given, with the settings that it was run with."""
    return load(study, overrides, name=name, workspace=workspace)


def print_lines(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)
