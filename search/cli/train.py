"""The commands that train: `check`, `run`, `worker`, `final`. Each parses, calls, and prints."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from foldrace.errors import FoldraceError, LogFormatter
from foldrace.search.api import train
from foldrace.search.api.naming import find_workspace
from foldrace.search.cli.next_step import say_next, say_next_of_run
from foldrace.search.cli.options import (
    DevicesOption,
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
from foldrace.search.launch.durations import parse_duration


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
    found = train.check(load_study(study, set_, trials, name), devices=devices, workspace=workspace)
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
            workspace=workspace,
            wait=wait,
            say=typer.echo,
        )
    typer.echo(finished)
    if finished.status is not None:
        say_next_of_run(finished.status, finished.status.name, workspace)
    raise typer.Exit(finished.exit_status)


def worker(
    study: StudyArgument,
    set_: SetOption = [],
    trials: TrialsOption = None,
    name: NameOption = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    time_limit: Annotated[
        str | None, typer.Option("--time-limit", help="Stop after this, as in 11h; the next worker continues.")
    ] = None,
    workspace: WorkspaceOption = None,
    wait: WaitOption = 0.0,
    final: Annotated[
        bool, typer.Option("--final", help="Train folds of the final job of this file, as `export` writes it.")
    ] = False,
    job: Annotated[str | None, typer.Option("--job", hidden=True)] = None,
    parent: Annotated[int | None, typer.Option("--parent", hidden=True)] = None,
    owner: Annotated[str | None, typer.Option("--owner", hidden=True)] = None,
) -> None:
    """Be one worker of a study, under any scheduler; creates the study when it is the first."""
    from foldrace.search.workers.parent_death import end_with_parent

    workspace = find_workspace(study, workspace, name)
    if parent is not None:
        end_with_parent(parent)
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    signal_number = train.worker(
        load_study(study, set_, trials, name),
        device=device,
        seconds=_seconds(time_limit),
        workspace=workspace,
        wait=wait,
        final=final,
        job=job,
        owner=owner,
    )
    if parent is not None and signal_number:  # the run that started it tells by this that work is left
        raise typer.Exit(128 + signal_number)


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError:
        raise FoldraceError(f"--time-limit {text}: expected a duration such as 11h, 90m or 1h30m") from None


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
    workspace: WorkspaceOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Train every fold, join their votes, write the submission; continues where it was interrupted."""
    workspace = find_workspace(study, workspace, name)
    asked = load_study(study, [*set_, *([f"final.seeds=[{seeds}]"] if seeds else [])], None, name)
    typer.echo(f"preparing the final job of {asked.name}")
    with _exit_when_stopped():
        finished = train.final(
            asked, workers=workers, devices=devices, per_device=per_device, workspace=workspace, wait=wait
        )
    typer.echo(finished)
    say_next("report", finished.job.folder, workspace)


def rescore(
    study: RunArgument,
    top: Annotated[int, typer.Option("--top", help="How many of the leading trials.")] = 3,
    repeats: Annotated[int, typer.Option("--repeats", help="How many fresh splits of the rows into folds.")] = 1,
    set_: RunSetOption = [],
    name: RunNameOption = None,
    workers: WorkersOption = None,
    devices: DevicesOption = "auto",
    per_device: PerDeviceOption = 1,
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
