"""The command line: each command parses, calls, and prints. What a user can mend is one line and exit status 2.

Torch and transformers are imported by the commands that train, never by this module.
"""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import foldrace
from foldrace import FoldraceError
from search.devices import slots
from search.session import Session, StopSignals, countdown, open_session, seconds
from studies.loading import load
from studies.study import Study

if TYPE_CHECKING:
    from search.final import Final
    from storage.workers import Control

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hyperparameter search for K-fold fine-tuning: race the trials, export the best, hand in the ensemble.",
)

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of a shipped study.")]
WorkspaceOption = Annotated[Path, typer.Option("--workspace", help="The folder that holds the files of all runs.")]
SetOption = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the study file; repeatable.")
]
TrialsOption = Annotated[int | None, typer.Option("--trials", min=1, help="The budget; more than before queues more.")]
NameOption = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Run it under another name.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Worker processes on the CPU; at most so many on GPUs.")
]
DevicesOption = Annotated[str, typer.Option("--devices", help="auto, cpu, or CUDA indices such as 0,1,3.")]
PerDeviceOption = Annotated[int, typer.Option("--per-device", min=1, help="Workers that share each GPU.")]
WaitOption = Annotated[
    float, typer.Option("--wait", min=0, help="Seconds to wait for a database that does not answer.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

WORKSPACE = Path("runs")


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


@app.command()
def check(
    study: StudyArgument,
    set_: SetOption = [],
    trials: TrialsOption = None,
    devices: DevicesOption = "auto",
    workspace: WorkspaceOption = WORKSPACE,
) -> None:
    """Say what would be run, and how long it would take here."""
    from search.check import describe, forecast
    from storage.workspace import Workspace
    from trainer.devices import resolve
    from trainer.job import open_job

    asked = _load(study, set_, trials)
    places = slots(devices)
    job = open_job(asked, Workspace(workspace, asked.name))
    seed, folds = asked.final.seeds[0], asked.final.folds
    plan = job.plan(asked.folds.count, asked.folds.seed) if asked.searched else job.plan(folds, seed)
    for line in describe(job, plan):
        typer.echo(line)
    device = "cpu" if places[0].device == "cpu" else "cuda"
    ahead = forecast(job, plan, resolve(device), places[0].threads)
    budget = f"{asked.search.trials} trials" if asked.searched else "a final job"
    typer.echo(f"budget    {budget}, {ahead.fold_epochs:.0f} fold-epochs without pruning")
    together = f", {ahead.hours / len(places):.2f} for the {len(places)} that run here" if len(places) > 1 else ""
    typer.echo(
        f"speed     {ahead.rows_per_second:.0f} rows/s ({device}): {ahead.hours:.2f} hours for one worker{together}"
    )


@app.command()
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
    from search.progress import describe, standing, watch
    from search.queue import is_there, open_study, refuse_fixed
    from storage.tracking import NOTICES
    from storage.workers import set_control
    from trainer.examples import read_training

    asked = _load(study, set_, trials, name)
    refuse_fixed(asked)
    places = slots(devices, workers, per_device)
    left = countdown(None if hours is None else hours * 3600)
    read_training(asked.data)  # a fault in the data ends it here, before anything is queued
    _print([f"tracker   {kind}: {NOTICES[kind]}" for kind in asked.search.trackers if kind in NOTICES])
    with open_session(asked, workspace, wait) as session:
        if is_there(session.database, asked.name):
            open_study(session.database, asked)  # refuses another study of this name; else the first worker makes it
            set_control(session.database, asked.name, "running")
        status = watch(session, places, seconds_left=left)
        if is_there(session.database, asked.name):  # a run may be stopped before its first worker made it
            _print(describe(standing(session)))
    raise typer.Exit(status)


@app.command()
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
    from search.supervisor import end_with_parent

    signals = StopSignals()
    if parent is not None:
        end_with_parent(parent)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asked = _load(study, set_, trials, name)
    left = countdown(_seconds(time_limit))
    with open_session(asked, workspace, wait) as session:
        from search.serve import serve

        serve(session, device, final, owner, left, lambda: signals.asked)


@app.command()
def status(
    study: StudyArgument,
    set_: SetOption = [],
    name: NameOption = None,
    workspace: WorkspaceOption = WORKSPACE,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until interrupted.")] = False,
) -> None:
    """Show a search: its trials, its best, what pruning saved, its workers."""
    from search.progress import describe, standing, watch_status

    with open_session(_load_run(study, set_, name, workspace), workspace, create=False) as session:
        if watch:
            watch_status(session)
            return
        now = standing(session)
    _print([json.dumps(now.plain(), ensure_ascii=False)] if as_json else describe(now))


@app.command()
def dashboard(
    study: StudyArgument,
    name: NameOption = None,
    workspace: WorkspaceOption = WORKSPACE,
    host: Annotated[str, typer.Option("--host", help="The name or address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 8080,
    allow_edit: Annotated[
        bool, typer.Option("--allow-edit", help="Let who has the link change notes, trials and studies.")
    ] = False,
) -> None:
    """Show a search in the browser, in optuna-dashboard behind a link with a key."""
    from search.dashboard import serve

    with open_session(_load_run(study, [], name, workspace), workspace, create=False) as session:
        serve(session, host, port, allow_edit, typer.echo)


@app.command()
def export(
    study: StudyArgument,
    trial: Annotated[int | None, typer.Option("--trial", min=0, help="This trial instead of the best.")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Where to write; final.toml with the run.")] = None,
    set_: SetOption = [],
    name: NameOption = None,
    workspace: WorkspaceOption = WORKSPACE,
) -> None:
    """Write the best complete trial as a final study file, with every knob fixed."""
    from search.export import export as write
    from search.export import winner

    with open_session(_load_run(study, set_, name, workspace), workspace, create=False) as session:
        best = winner(session.database, session.study, trial)
        path = output or session.workspace.folder / "final.toml"
        write(session.study, best, path)
    metric = session.study.search.metric
    typer.echo(f"best      trial {best.number}: mean fold {metric} {best.value:.4f} (sd {best.deviation:.4f})")
    typer.echo(f"exported  {path}")


@app.command()
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
    from search.final import begin
    from search.progress import refuse_unfinished, standing, watch
    from storage.workers import set_control
    from trainer.examples import read_test, read_training

    asked = _load(study, [*set_, *([f"final.seeds=[{seeds}]"] if seeds else [])], None, name)
    places = slots(devices, workers, per_device)
    examples = read_training(asked.data)
    if asked.data.test is not None:
        read_test(asked.data.test, examples.labels)
    with open_session(asked, workspace, wait) as session:
        job = begin(asked, session.database, session.workspace)
        set_control(session.database, job.name, "running")
        session = Session(job.study, session.workspace, session.database)
        status = watch(session, places, job.number)
        if status:
            raise typer.Exit(status)
        refuse_unfinished(standing(session, job.name))
        _hand_in(job, session)


def _hand_in(job: "Final", session: Session) -> None:
    from search.final import ensemble
    from search.record_final import record_final
    from trainer.job import open_job

    opened = open_job(job.study, job.workspace)
    done = ensemble(job, opened)
    metric, (low, high) = job.study.search.metric, done.interval
    _print(
        [
            f"folds     {len(done.folds)}: mean {metric} {done.mean:.4f} (sd {done.deviation:.4f})",
            f"oof       out-of-fold accuracy {done.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f})",
            f"files     {job.folder}",
            f"submit    {done.submission}",
        ]
    )
    if job.study.folds.leaky_oversampling:
        typer.echo("leaky_oversampling: copies cross the folds, so these scores are optimistic")
    record_final(session, job.number, opened, done)


@app.command()
def report(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A study, or the folder of a final job.")],
    output: Annotated[Path | None, typer.Option("--output", help="Where to write; report.html with the run.")] = None,
    set_: SetOption = [],
    name: NameOption = None,
    workspace: WorkspaceOption = WORKSPACE,
) -> None:
    """Write one HTML file about a search or a final job, which opens without a network."""
    from storage.workspace import atomic_write

    if Path(study).is_dir() and Path(study).name.startswith("final-"):
        from search.finished import open_finished
        from search.report_final import final_report

        path, text = Path(study), final_report(open_finished(Path(study)))
    else:
        from search.report import study_report

        with open_session(_load_run(study, set_, name, workspace), workspace, create=False) as session:
            path, text = session.workspace.folder, study_report(session)
    path = output or path / "report.html"
    atomic_write(path, text)
    typer.echo(f"report    {path}")


@app.command()
def predict(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a final job, as runs/demo/final-1.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows to predict, in any format a study reads.")],
    output: Annotated[Path | None, typer.Option("--output", help="Where to write; predictions.csv in RUN.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Use a finished ensemble on new data."""
    from search.predict import predict_file
    from trainer.devices import resolve

    path = output or run_folder / "predictions.csv"
    done = predict_file(run_folder, file, path, resolve(device))
    known = "" if done.accuracy is None else f"; accuracy {done.accuracy:.4f} on the rows with a known label"
    typer.echo(f"{len(done.examples.rows)} rows predicted by {run_folder}, written to {path}{known}")


@app.command()
def pause(
    study: StudyArgument, set_: SetOption = [], name: NameOption = None, workspace: WorkspaceOption = WORKSPACE
) -> None:
    """Let the workers finish the trials they run, and start no other."""
    _control(_load_run(study, set_, name, workspace), workspace, "paused")


@app.command()
def resume(
    study: StudyArgument, set_: SetOption = [], name: NameOption = None, workspace: WorkspaceOption = WORKSPACE
) -> None:
    """Let the workers of a paused study go on."""
    _control(_load_run(study, set_, name, workspace), workspace, "running")


@app.command()
def stop(
    study: StudyArgument, set_: SetOption = [], name: NameOption = None, workspace: WorkspaceOption = WORKSPACE
) -> None:
    """Let every worker save its trial, let go of it, and end; `foldrace run`, or `resume` and workers, go on."""
    _control(_load_run(study, set_, name, workspace), workspace, "stopping")


def _control(study: Study, workspace: Path, asked: "Control") -> None:
    from storage.workers import set_control

    with open_session(study, workspace, create=False) as session:
        set_control(session.database, session.study.name, asked)
    typer.echo(f"{session.study.name}: {asked}; every worker sees it at its next heartbeat")


def _load(study: str, overrides: list[str], trials: int | None = None, name: str | None = None) -> Study:
    budget = [] if trials is None else [f"search.trials={trials}"]
    return load(study, [*overrides, *budget], name)


def _load_run(study: str, overrides: list[str], name: str | None, workspace: Path) -> Study:
    """The study of a run that is there: as it was run, when only its name is given."""
    return load(study, overrides, name, runs=workspace, files=False)


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else seconds(text)
    except ValueError:
        raise FoldraceError(f"--time-limit {text}: expected a duration such as 11h, 90m or 1h30m") from None


def _print(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)


def main() -> None:
    """The console script: errors that the user can mend are one line and exit status 2; `--debug` shows all."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = ["--debug"] * debug + [argument for argument in arguments if argument != "--debug"]
    try:
        app(arguments, prog_name="foldrace")
    except FoldraceError as error:
        if debug:
            raise
        print(f"foldrace: {error}", file=sys.stderr)  # noqa: T201, this is the command line
        sys.exit(2)


if __name__ == "__main__":
    main()
