"""The commands that train: `check`, `run`, `final`, `rescore`. Each parses, calls, and prints."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from foldrace.errors import FoldraceError
from foldrace.search.api import train
from foldrace.search.api.naming import find_workspace, refuse_run
from foldrace.search.cli.next_step import say_next, say_next_of_run
from foldrace.search.cli.options import (
    AddressOption,
    DevicesOption,
    EngineOption,
    FromOption,
    NameOption,
    PerDeviceOption,
    RunArgument,
    RunNameOption,
    RunSetOption,
    SetOption,
    StudyArgument,
    TrialsOption,
    WaitOption,
    WorkersOption,
    WorkspaceOption,
    load_run,
    load_study,
    parse_counts,
    print_lines,
)


def init(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A folder with the rows of training and test, or the training file.")
    ],
    model: Annotated[str, typer.Option("--model", help="A name on the hub, a folder, or tiny.")] = "tiny",
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", help="Fit the search to so many on this machine, by timing a few steps."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="The file; NAME.toml here, after the data.")] = None,
    column: Annotated[
        list[str],
        typer.Option("--column", metavar="PART=NAME", help="A column of another name than usual: label=topic."),
    ] = [],
) -> None:
    """Look at data, and write a study file that runs as it is."""
    columns = dict(one.partition("=")[::2] for one in column)
    written = train.init(data, model=model, minutes=minutes, output=output, columns=columns)
    typer.echo(written)
    say_next("check", written.path)


def check(
    study: StudyArgument,
    set_: SetOption = [],
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Reckon with so many trials, not the file's.")
    ] = None,
    name: NameOption = None,
    from_: FromOption = [],
    devices: Annotated[
        str, typer.Option("--devices", help="Where to time a few steps: auto, cpu, or CUDA indices such as 0,1,3.")
    ] = "auto",
    folds: Annotated[
        str | None, typer.Option("--folds", metavar="K,K", help="Compare numbers of folds, such as 5,8,10.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Say what would be run, and how long it would take here."""
    from foldrace.search.launch.preflight import describe_estimate

    counts = [] if folds is None else parse_counts(folds)
    workspace = find_workspace(study, workspace, name)
    found = train.check(load_study(study, set_, trials, name, from_), devices=devices, workspace=workspace)
    print_lines(found.description)
    print_lines(describe_estimate(found.data.study, found.estimate, found.slots))
    if counts:
        typer.echo(found.compare_folds(counts))
    say_next("run" if found.data.study.searched else "final", study, workspace)


def run(
    study: StudyArgument,
    set_: SetOption = [],
    trials: TrialsOption = None,
    name: NameOption = None,
    workers: WorkersOption = None,
    devices: DevicesOption = "auto",
    per_device: PerDeviceOption = 1,
    from_: FromOption = [],
    hours: Annotated[
        float | None, typer.Option("--hours", min=0, help="Stop after so many hours; the same command continues.")
    ] = None,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workspace: WorkspaceOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Create or continue a search, with one worker process for each device slot."""
    workspace = find_workspace(study, workspace, name)
    asked = load_study(study, set_, trials, name, from_)
    typer.echo(f"preparing {asked.name}")
    with _exit_when_stopped():
        finished = train.run(
            asked,
            workers=workers,
            devices=devices,
            per_device=per_device,
            hours=hours,
            engine=engine,
            address=address,
            workspace=workspace,
            wait=wait,
            say=typer.echo,
        )
    typer.echo(finished)
    if finished.status is not None:
        say_next_of_run(finished.status, finished.status.name, workspace)
    raise typer.Exit(finished.exit_status)


def final(
    study: Annotated[
        str, typer.Argument(metavar="FILE", help="A study file with every knob fixed, as export writes it.")
    ],
    set_: SetOption = [],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Keep the final job with the run of this name.")
    ] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Train all folds with each, as in 77,78.")] = None,
    workers: WorkersOption = None,
    devices: DevicesOption = "auto",
    per_device: PerDeviceOption = 1,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workspace: WorkspaceOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Train every fold, join their votes, write the submission; continues where it was interrupted."""
    workspace = find_workspace(study, workspace, name)
    refuse_run(study, workspace)
    asked = load_study(study, [*set_, *_as_override(seeds)], None, name)
    typer.echo(f"preparing the final job of {asked.name}")
    with _exit_when_stopped():
        finished = train.final(
            asked,
            workers=workers,
            devices=devices,
            per_device=per_device,
            engine=engine,
            address=address,
            workspace=workspace,
            wait=wait,
            say=typer.echo,
        )
    typer.echo(finished)
    say_next("report", finished.job.folder, workspace)


def _as_override(seeds: str | None) -> list[str]:
    """`--seeds` as `--set` takes it. Raises FoldraceError."""
    if seeds is not None and not re.fullmatch(r"[0-9]{1,10}( *, *[0-9]{1,10})*", seeds):
        raise FoldraceError(f"--seeds {seeds}: expected whole numbers, as in 77,78")
    return [] if seeds is None else [f"final.seeds={[int(seed) for seed in seeds.split(',')]}"]


def rescore(
    study: RunArgument,
    top: Annotated[int, typer.Option("--top", help="How many of the leading trials.")] = 3,
    repeats: Annotated[int, typer.Option("--repeats", help="How many fresh splits of the rows into folds.")] = 1,
    set_: RunSetOption = [],
    name: RunNameOption = None,
    workers: WorkersOption = None,
    devices: DevicesOption = "auto",
    per_device: PerDeviceOption = 1,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workspace: WorkspaceOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Train the leading trials on fresh folds, which chose none of them; continues where it was interrupted."""
    workspace = find_workspace(study, workspace, name)
    asked = load_run(study, set_, name, workspace)
    with _exit_when_stopped():
        finished = train.rescore(
            asked,
            top=top,
            repeats=repeats,
            workers=workers,
            devices=devices,
            per_device=per_device,
            engine=engine,
            address=address,
            workspace=workspace,
            wait=wait,
            say=typer.echo,
        )
    typer.echo(finished)
    say_next("export", study, workspace)


@contextmanager
def _exit_when_stopped() -> Iterator[None]:
    """End the command with the status of the signal that stops a run, and its last lines."""
    from foldrace.search.launch.supervision import RunStopped

    try:
        yield
    except RunStopped as stopped:
        typer.echo(stopped)
        raise typer.Exit(stopped.exit_status) from None
