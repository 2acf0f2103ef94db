"""The commands that train: `check`, `run`, `worker`, `final`. Each parses, calls, and prints."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from foldrace.errors import FoldraceError
from foldrace.search.cli.durations import TimeLimit, parse_duration
from foldrace.search.cli.options import (
    WORKSPACE,
    DevicesOption,
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

if TYPE_CHECKING:
    from foldrace.search.ensemble.job import FinalJob


def check(
    study: StudyArgument,
    set_: SetOption = [],
    trials: TrialsOption = None,
    devices: DevicesOption = "auto",
    workspace: WorkspaceOption = WORKSPACE,
) -> None:
    """Say what would be run, and how long it would take here."""
    from foldrace.search.cli.preflight import describe_study, estimate_time
    from foldrace.storage.workspace import Workspace
    from foldrace.trainer.modeling.devices import resolve_device
    from foldrace.trainer.training_data import open_training_data

    asked = load_study(study, set_, trials)
    places = slots(devices)
    data = open_training_data(asked, Workspace(workspace, asked.name))
    seed, folds = asked.final.seeds[0], asked.final.folds
    plan = data.plan(asked.folds.count, asked.folds.seed) if asked.searched else data.plan(folds, seed)
    for line in describe_study(data, plan):
        typer.echo(line)
    device = places[0].device
    resolve_device("cpu" if device == "cpu" else "cuda")
    estimate = estimate_time(data, plan, device, places[0].threads)
    budget = f"{asked.search.trials} trials" if asked.searched else "a final job"
    typer.echo(f"budget    {budget}, {estimate.fold_epochs:.0f} fold-epochs without pruning")
    together = f", {estimate.hours / len(places):.2f} for the {len(places)} that run here" if len(places) > 1 else ""
    typer.echo(
        f"speed     {estimate.rows_per_second:.0f} rows/s ({device}, {estimate.precision}): "
        f"{estimate.hours:.2f} hours for one worker{together}"
    )


def run(
    study: StudyArgument,
    set_: SetOption = [],
    trials: TrialsOption = None,
    name: NameOption = None,
    workers: WorkersOption = None,
    devices: DevicesOption = "auto",
    per_device: PerDeviceOption = 1,
    hours: Annotated[float | None, typer.Option("--hours", min=0, help="Let go in good order after so long.")] = None,
    workspace: WorkspaceOption = WORKSPACE,
    wait: WaitOption = 0.0,
) -> None:
    """Create or continue a search, with one worker process for each device slot."""
    from foldrace.search.monitor.live import closing_lines, watch
    from foldrace.search.monitor.status_reader import read_status
    from foldrace.search.study_store import open_study, refuse_fixed, study_exists
    from foldrace.search.trials.heartbeat import refuse_short_lease
    from foldrace.storage.trackers.protocol import NOTICES
    from foldrace.storage.workers import set_control
    from foldrace.trainer.data.examples import read_training

    asked = load_study(study, set_, trials, name)
    refuse_fixed(asked)
    refuse_short_lease(asked)
    places = slots(devices, workers, per_device)
    limit = TimeLimit(None if hours is None else hours * 3600)
    read_training(asked.data)  # a fault in the data ends it here, before anything is queued
    print_lines([f"tracker   {kind}: {NOTICES[kind]}" for kind in asked.search.trackers if kind in NOTICES])
    with open_session(asked, workspace, wait, retries=VIEW) as session:
        if study_exists(session.database, asked.name):
            open_study(session.database, asked)  # refuses another study of this name; else the first worker makes it
            set_control(session.database, asked.name, "running", finals=False)
            queued, wanted = read_status(session.database, asked.name).total, asked.search.trials
            if queued > wanted:
                typer.echo(f"budget    {queued} trials were asked for before; search.trials = {wanted} takes none back")
        status = watch(session, places, seconds_left=limit.seconds_left)
        print_lines(closing_lines(session))
    raise typer.Exit(status)


def worker(
    study: StudyArgument,
    set_: SetOption = [],
    trials: TrialsOption = None,
    name: NameOption = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    time_limit: Annotated[
        str | None, typer.Option("--time-limit", help="Let go in good order after this, as in 11h.")
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
    with open_session(asked, workspace, wait) as session:
        from foldrace.search.workers.entrypoint import WorkerOptions, run_worker

        run_worker(session, WorkerOptions(device, final, owner), lambda: signals.requested or limit.is_over())


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
    from foldrace.search.ensemble.job import queue_final_job
    from foldrace.search.monitor.live import refuse_unfinished, watch
    from foldrace.search.monitor.status_reader import read_status
    from foldrace.search.trials.heartbeat import refuse_short_lease
    from foldrace.search.workers.process import GIVEN_UP
    from foldrace.storage.workers import set_control
    from foldrace.trainer.data.examples import read_test, read_training
    from foldrace.trainer.submission import check_codes

    asked = load_study(study, [*set_, *([f"final.seeds=[{seeds}]"] if seeds else [])], None, name)
    refuse_short_lease(asked)
    places = slots(devices, workers, per_device)
    examples = read_training(asked.data)
    if asked.data.test is not None:
        read_test(asked.data.test, examples.labels)
        check_codes(asked.final.submission, examples.labels, len(asked.data.exclude_labels))
    with open_session(asked, workspace, wait, retries=VIEW) as session:
        job = queue_final_job(asked, session.database, session.workspace)
        set_control(session.database, job.name, "running")
        session = Session(job.study, session.workspace, session.database)
        status = watch(session, places, job.number)
        if status > GIVEN_UP:  # without one worker, the others may have trained all folds
            raise typer.Exit(status)
        refuse_unfinished(read_status(session.database, job.name), job.missing)
        _hand_in(job, session)


def _hand_in(job: "FinalJob", session: Session) -> None:
    from foldrace.search.ensemble.result import make_ensemble
    from foldrace.search.recording.final_recorder import record_final
    from foldrace.trainer.training_data import open_training_data

    data = open_training_data(job.study, job.workspace)
    done = make_ensemble(job, data)
    metric, (low, high) = job.study.search.metric, done.interval
    print_lines(
        [
            f"folds     {len(done.folds)}: mean {metric} {done.mean:.4f} (sd {done.deviation:.4f})",
            f"oof       out-of-fold accuracy {done.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f})",
            "          a little optimistic: each model is the best of its evaluations on these very rows",
            f"files     {job.folder}",
            f"submit    {done.submission}",
        ]
    )
    if data.invented_codes:
        typer.echo(f"labels    {data.invented_codes}")
    if job.study.folds.leaky_oversampling:
        typer.echo("leaky_oversampling: copies cross the folds, so these scores are optimistic")
    record_final(session, job, data, done)
