"""The commands of a cluster: `worker`, under any scheduler, and `submit`, to Slurm."""

import logging
from functools import partial
from typing import Annotated

import typer

from foldrace.errors import FoldraceError, LogFormatter
from foldrace.search.api import cluster
from foldrace.search.api.naming import find_workspace
from foldrace.search.cli.next_step import say_next
from foldrace.search.cli.options import (
    FromOption,
    NameOption,
    SetOption,
    StudyArgument,
    TrialsOption,
    WaitOption,
    WorkspaceOption,
    load_study,
)
from foldrace.storage.workers import own_task
from foldrace.studies.durations import parse_duration

TimeLimitOption = Annotated[
    str | None, typer.Option("--time-limit", help="Stop after this, as in 11h; the next worker continues.")
]
FinalOption = Annotated[
    bool, typer.Option("--final", help="Train folds of the final job of this file, as `export` writes it.")
]
HandInOption = Annotated[
    bool, typer.Option("--hand-in", help="With --final: when all folds are trained, make the submission.")
]
RequeueOption = Annotated[
    bool,
    typer.Option(
        "--requeue", help="Where it is told to end first: have Slurm start it again; elsewhere exit with 143."
    ),
]


def worker(
    study: StudyArgument,
    set_: SetOption = [],
    trials: TrialsOption = None,
    name: NameOption = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    time_limit: TimeLimitOption = None,
    workspace: WorkspaceOption = None,
    wait: WaitOption = 0.0,
    final: FinalOption = False,
    hand_in: HandInOption = False,
    requeue: RequeueOption = False,
    job: Annotated[str | None, typer.Option("--job", hidden=True)] = None,
    parent: Annotated[int | None, typer.Option("--parent", hidden=True)] = None,
    owner: Annotated[str | None, typer.Option("--owner", hidden=True)] = None,
) -> None:
    """Be one worker of a study, under any scheduler; creates the study when it is the first."""
    _begin_log(parent)
    signal_number = cluster.worker(
        load_study(study, set_, trials, name),
        device=device,
        seconds=_seconds(time_limit),
        workspace=find_workspace(study, workspace, name),
        wait=wait,
        final=final,
        hand_in=hand_in,
        requeue=requeue,
        job=job,
        owner=owner,
        say=typer.echo,
    )
    told = parent is not None or (requeue and not own_task())
    if told and signal_number:  # the run or the scheduler that started it knows by this that work is left
        raise typer.Exit(128 + signal_number)


def _begin_log(parent: int | None) -> None:
    """Print what the worker logs, and end it with the process that started it."""
    from foldrace.search.workers.parent_death import end_with_parent

    if parent is not None:
        end_with_parent(parent)
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError:
        raise FoldraceError(f"--time-limit {text}: expected a duration such as 11h, 90m or 1h30m") from None


def submit(
    study: StudyArgument,
    slurm: Annotated[bool, typer.Option("--slurm", help="To Slurm, as one job array; the only place so far.")] = False,
    final: Annotated[
        bool, typer.Option("--final", help="The final job of this file; whoever trains the last fold hands in.")
    ] = False,
    only_print: Annotated[
        bool,
        typer.Option("--print", help="Print the batch script, and write the study file that it reads; submit nothing."),
    ] = False,
    set_: SetOption = [],
    trials: TrialsOption = None,
    name: NameOption = None,
    from_: FromOption = [],
    workspace: WorkspaceOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Submit the workers of a search, or of a final job, to the scheduler of a cluster."""
    if not slurm:
        raise FoldraceError("submit: where to? --slurm submits to Slurm")
    workspace = find_workspace(study, workspace, name)
    asked = load_study(study, set_, trials, name, from_)
    if only_print:
        say = partial(typer.echo, err=True)
        typer.echo(cluster.batch_script(asked, final=final, workspace=workspace, say=say), nl=False)
        return
    typer.echo(cluster.submit(asked, final=final, workspace=workspace, wait=wait, say=typer.echo))
    say_next("status", asked.name, workspace)
