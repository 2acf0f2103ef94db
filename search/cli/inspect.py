"""The commands that read what was done: `status`, `dashboard`, `export`, `report`, `predict`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from foldrace.errors import FoldraceError
from foldrace.search.cli.options import (
    WORKSPACE,
    JsonOption,
    NameOption,
    SetOption,
    StudyArgument,
    WorkspaceOption,
    load_run,
    print_lines,
)
from foldrace.search.session import open_session


def status(
    study: StudyArgument,
    set_: SetOption = [],
    name: NameOption = None,
    workspace: WorkspaceOption = WORKSPACE,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until interrupted.")] = False,
) -> None:
    """Show a search: its trials, its best, what pruning saved, its workers."""
    from foldrace.search.monitor.live import watch_status
    from foldrace.search.monitor.status_reader import read_status
    from foldrace.search.monitor.view import status_lines
    from foldrace.search.study_store import name_of_run

    if watch and as_json:
        raise FoldraceError("--watch shows a search to people; --json without it gives it once")
    with open_session(load_run(study, set_, name, workspace), workspace, create=False) as session:
        run_name = name_of_run(session.database, session.study.name)
        if watch:
            watch_status(session.database, run_name)
            return
        status = read_status(session.database, run_name)
    print_lines([json.dumps(status.to_json(), ensure_ascii=False)] if as_json else status_lines(status))


def dashboard(
    study: StudyArgument,
    name: NameOption = None,
    workspace: WorkspaceOption = WORKSPACE,
    host: Annotated[str, typer.Option("--host", help="The name or address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 8080,
    allow_edit: Annotated[
        bool, typer.Option("--allow-edit", help="Let everybody who has the link change notes, trials and studies.")
    ] = False,
) -> None:
    """Show a search in the browser, in optuna-dashboard behind a link with a token."""
    from foldrace.search.dashboard.server import serve_dashboard

    with open_session(load_run(study, [], name, workspace), workspace, create=False) as session:
        serve_dashboard(session, host, port, allow_edit, typer.echo)


def export(
    study: StudyArgument,
    trial: Annotated[
        str | None, typer.Option("--trial", help="This trial instead of the best; RUN/NUMBER: one that was taken over.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Where to write; final.toml with the run.")] = None,
    prior: Annotated[
        Path | None, typer.Option("--prior", help="Write only this: a .json file with all trials, for later studies.")
    ] = None,
    set_: SetOption = [],
    name: NameOption = None,
    workspace: WorkspaceOption = WORKSPACE,
) -> None:
    """Write the best complete trial as a final study file, with every knob fixed."""
    from foldrace.search.ensemble.export import export as write
    from foldrace.search.ensemble.export import select_trial, taken_over_trials
    from foldrace.search.priors.sources import write_prior

    with open_session(load_run(study, set_, name, workspace), workspace, create=False) as session:
        if prior is not None:
            typer.echo(f"prior     {write_prior(session, prior)}")
            return
        best = select_trial(session.database, session.study, trial)
        taken_over = [] if trial is not None else taken_over_trials(session.database, session.study)
        path = output or session.workspace.folder / "final.toml"
        write(session.study, best, path)
    metric = session.study.search.metric
    typer.echo(f"best      trial {best.name}: mean fold {metric} {best.value:.4f} (sd {best.deviation:.4f})")
    better = [one.name for one in taken_over if one.value > best.value]
    print_lines([f"better    trial {name} was taken over; --trial {name} exports it" for name in better[:1]])
    typer.echo(f"exported  {path}")


def report(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A study, or the folder of a final job.")],
    output: Annotated[Path | None, typer.Option("--output", help="Where to write; report.html with the run.")] = None,
    set_: SetOption = [],
    name: NameOption = None,
    workspace: WorkspaceOption = WORKSPACE,
) -> None:
    """Write one HTML file about a search or a final job, which opens without a network."""
    from foldrace.search.ensemble.outcome import open_outcome
    from foldrace.search.reports.final_report import final_report
    from foldrace.search.reports.search_report import search_report
    from foldrace.search.study_store import name_of_run
    from foldrace.storage.files.atomic import atomic_write

    folder, text = Path(study), ""
    if not (folder.name.startswith("final-") and folder.is_dir()):
        with open_session(load_run(study, set_, name, workspace), workspace, create=False) as session:
            folder = session.workspace.root / name_of_run(session.database, session.study.name)
            text = search_report(session) if folder == session.workspace.folder else ""
    path = output or folder / "report.html"
    atomic_write(path, text or final_report(open_outcome(folder, set_)))
    typer.echo(f"report    {path}")


def predict(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a final job, as runs/demo/final-1.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows to predict, in any format a study reads.")],
    output: Annotated[Path | None, typer.Option("--output", help="Where to write; predictions.csv in RUN.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Use a finished ensemble on new data."""
    from foldrace.search.ensemble.predict import predict_file
    from foldrace.trainer.modeling.devices import resolve_device

    path = output or run_folder / "predictions.csv"
    done = predict_file(run_folder, file, path, resolve_device(device))
    known = "" if done.accuracy is None else f"; accuracy {done.accuracy:.4f} on the rows with a known label"
    typer.echo(f"{len(done.examples.rows)} rows predicted by {run_folder}, written to {path}{known}")
