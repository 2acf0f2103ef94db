"""The commands that train: `check`, `run`, `worker`, `final`. Each parses, calls, and prints."""

import logging
from typing import Annotated

import typer

from foldrace.errors import FoldraceError
from foldrace.search.cli.durations import TimeLimit, parse_duration
from foldrace.search.cli.options import (
    WORKSPACE,
    DevicesOption,
    FromOption,
    NameOption,
    PerDeviceOption,
    SetOption,
    StudyArgument,
    TrialsOption,
    WaitOption,
    WorkersOption,
    WorkspaceOption,
    load_study,
    print_lines,
)
from foldrace.search.session import VIEW, Session, open_session
from foldrace.search.workers.signals import StopSignals
from foldrace.search.workers.slots import slots
from foldrace.storage.outages import RetryPolicy


def check(
    study: StudyArgument,
    set_: SetOption = [],
    trials: TrialsOption = None,
    devices: DevicesOption = "auto",
    workspace: WorkspaceOption = WORKSPACE,
) -> None:
    """Say what would be run, and how long it would take here."""
    from foldrace.search.cli.preflight import describe_estimate, describe_study, estimate_time
    from foldrace.storage.workspace import Workspace
    from foldrace.trainer.training_data import open_training_data

    asked = load_study(study, set_, trials)
    places = slots(devices)
    data = open_training_data(asked, Workspace(workspace, asked.name))
    print_lines(describe_study(data))
    print_lines(describe_estimate(asked, estimate_time(data, places[0]), places))


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
    workspace: WorkspaceOption = WORKSPACE,
    wait: WaitOption = 0.0,
) -> None:
    """Create or continue a search, with one worker process for each device slot."""
    from foldrace.search.launch.search import check_search, closing_lines, continue_search, prior_lines
    from foldrace.search.launch.supervision import run_workers
    from foldrace.storage.trackers.protocol import NOTICES

    asked = load_study(study, set_, trials, name, from_)
    check_search(asked)
    places = slots(devices, workers, per_device)
    limit = TimeLimit(None if hours is None else hours * 3600)
    print_lines([f"tracker   {kind}: {NOTICES[kind]}" for kind in asked.search.trackers if kind in NOTICES])
    with open_session(asked, workspace, wait, retries=VIEW) as session:
        print_lines(prior_lines(session))
        queued, wanted = continue_search(session), asked.search.trials
        if queued > wanted:
            typer.echo(f"budget    {queued} trials were asked for before; search.trials = {wanted} takes none back")
        status = run_workers(session, places, seconds_left=limit.seconds_left)
        print_lines(closing_lines(session))
    raise typer.Exit(status)


def worker(
    study: StudyArgument,
    set_: SetOption = [],
    trials: TrialsOption = None,
    name: NameOption = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    time_limit: Annotated[
        str | None, typer.Option("--time-limit", help="Stop after this, as in 11h; the next worker continues.")
    ] = None,
    workspace: WorkspaceOption = WORKSPACE,
    wait: WaitOption = 0.0,
    final: Annotated[int | None, typer.Option("--final", hidden=True)] = None,
    parent: Annotated[int | None, typer.Option("--parent", hidden=True)] = None,
    owner: Annotated[str | None, typer.Option("--owner", hidden=True)] = None,
) -> None:
    """Be one worker of a study, under any scheduler; creates the study when it is the first."""
    from foldrace.search.workers.parent_death import end_with_parent

    signals = StopSignals()
    if parent is not None:
        end_with_parent(parent)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asked = load_study(study, set_, trials, name)
    limit = TimeLimit(_seconds(time_limit))

    def should_stop() -> bool:
        return signals.requested or limit.is_over()

    with open_session(asked, workspace, wait, retries=RetryPolicy(should_stop=should_stop)) as session:
        from foldrace.search.workers.entrypoint import WorkerOptions, run_worker

        run_worker(session, WorkerOptions(device, final, owner), should_stop)


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
    name: NameOption = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Train all folds with each, as in 77,78.")] = None,
    workers: WorkersOption = None,
    devices: DevicesOption = "auto",
    per_device: PerDeviceOption = 1,
    workspace: WorkspaceOption = WORKSPACE,
    wait: WaitOption = 0.0,
) -> None:
    """Train every fold, join their votes, write the submission; continues where it was interrupted."""
    from foldrace.search.ensemble.result import make_ensemble
    from foldrace.search.launch.final import begin_final, check_final, refuse_untrained, result_lines
    from foldrace.search.launch.supervision import run_workers
    from foldrace.search.recording.final_recorder import record_final
    from foldrace.search.workers.process import GIVEN_UP
    from foldrace.trainer.training_data import open_training_data

    asked = load_study(study, [*set_, *([f"final.seeds=[{seeds}]"] if seeds else [])], None, name)
    check_final(asked)
    places = slots(devices, workers, per_device)
    with open_session(asked, workspace, wait, retries=VIEW) as session:
        job = begin_final(session)
        session = Session(job.study, session.workspace, session.database)
        status = run_workers(session, places, job.number)
        if status > GIVEN_UP:  # without one worker, the others may have trained all folds
            raise typer.Exit(status)
        refuse_untrained(job, session.database)
        data = open_training_data(job.study, job.workspace)
        result = make_ensemble(job, data)
        print_lines(result_lines(job, data, result))
        record_final(session, job, data, result)
