"""The commands that read what was done: `status`, `dashboard`, `export`, `report`, `predict`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from foldrace.errors import FoldraceError
from foldrace.search.api import inspect
from foldrace.search.api.naming import final_folder, find_workspace, is_final_job, split_job
from foldrace.search.assessment.edges import edge_words
from foldrace.search.cli.next_step import say_next, say_next_of_report, say_next_of_run
from foldrace.search.cli.options import (
    JsonOption,
    RunArgument,
    RunNameOption,
    RunOrJobArgument,
    RunSetOption,
    WorkspaceOption,
    load_run,
    print_lines,
)


def status(
    study: RunOrJobArgument,
    set_: RunSetOption = [],
    name: RunNameOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until interrupted.")] = False,
) -> None:
    """Show a search or a final job: its trials, its best and the knobs that won, what pruning saved, its workers."""
    workspace = find_workspace(study, workspace, name)
    if watch and as_json:
        raise FoldraceError("--watch shows a search to people; --json without it gives it once")
    run, job = split_job(study)
    asked = load_run(run, set_, name, workspace)
    if watch:
        inspect.watch(asked, job=job, workspace=workspace)
        return
    status = inspect.status(asked, job=job, workspace=workspace)
    if as_json:
        typer.echo(json.dumps(status.to_json(), ensure_ascii=False))
        return
    typer.echo(status)
    say_next_of_run(status, study, workspace)


def dashboard(
    study: RunArgument,
    set_: RunSetOption = [],
    name: RunNameOption = None,
    workspace: WorkspaceOption = None,
    host: Annotated[str, typer.Option("--host", help="The name or address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 8080,
    allow_edit: Annotated[
        bool, typer.Option("--allow-edit", help="Let everybody who has the link change notes, trials and studies.")
    ] = False,
) -> None:
    """Show a search in the browser, in optuna-dashboard behind a link with a token."""
    workspace = find_workspace(study, workspace, name)
    run = load_run(study, set_, name, workspace)
    inspect.dashboard(run, host=host, port=port, allow_edit=allow_edit, workspace=workspace, say=typer.echo)


def export(
    study: RunArgument,
    trial: Annotated[
        str | None, typer.Option("--trial", help="This trial instead of the best; RUN/NUMBER: one that was taken over.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Where to write; final.toml with the run.")] = None,
    prior: Annotated[
        Path | None, typer.Option("--prior", help="Write only this: a .json file with all trials, for later studies.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that was edited since.")] = False,
    set_: RunSetOption = [],
    name: RunNameOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write the leading trial as a final study file, with every knob fixed."""
    workspace = find_workspace(study, workspace, name)
    run = load_run(study, set_, name, workspace)
    if prior is not None:
        typer.echo(f"prior     {inspect.export_prior(run, prior, workspace=workspace)}")
        return
    exported = inspect.export(run, trial=trial, output=output, force=force, workspace=workspace)
    best, better, metric = exported.trial, exported.better, run.search.metric
    typer.echo(f"best      trial {best.name}: mean fold {metric} {best.value:.4f} ({best.note(run.folds.count)})")
    if edges := edge_words(run, best.sampled):
        typer.echo(f"edges     {edges}")
    if better is not None:
        typer.echo(f"better    trial {better.name} was taken over; --trial {better.name} exports it")
    if exported.assessment is not None:
        print_lines(exported.assessment.lead_lines + exported.assessment.lines)
    typer.echo(f"exported  {exported.path}")
    if exported.assessment is not None and not exported.assessment.fresh_folds:
        say_next("rescore", study, workspace)
    say_next("final", exported.path, workspace)


def report(
    study: RunOrJobArgument,
    output: Annotated[Path | None, typer.Option("--output", help="Where to write; report.html with the run.")] = None,
    set_: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Where data is now, as data.train=PATH; repeatable."),
    ] = [],
    name: RunNameOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write one HTML file about a search or a final job, which opens without a network."""
    workspace = find_workspace(study, workspace, name)
    folder = final_folder(study, workspace) if is_final_job(study) else None
    run = load_run(study, set_, name, workspace) if folder is None else folder
    path = inspect.report(run, overrides=set_, output=output, workspace=workspace)
    typer.echo(f"report    {path}")
    say_next_of_report(folder or path.parent, study, workspace)


def predict(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run or its study file, for its newest final job; or demo/final-1."),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows to predict, in any format a study reads.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="Where to write; predictions-FILE.csv with the final job.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file that is there.")] = False,
    set_: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Override how the final job reads files; repeatable."),
    ] = [],
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Use a finished ensemble on new data."""
    from foldrace.search.ensemble.predict import write_predictions

    workspace = find_workspace(run, workspace)
    folder = final_folder(run, workspace)
    done = inspect.predict_rows(folder, file, device=device, overrides=set_, track=_show_models)
    path = write_predictions(folder, file, done.submission(), output, force=force)
    rows = "rows that it was trained on" if done.is_trained_on else "the rows with a known label"
    known = "" if done.scores is None else f"; {done.scores.words(done.study.search.metric)} on {rows}"
    tokens = f"; {done.unknown:.1%} of the tokens unknown"
    typer.echo(f"{len(done.examples.rows)} rows predicted by {folder}, written to {path}{known}{tokens}")
    if done.unknown_labels:
        typer.echo(f"labels    {done.unknown_labels}")
    say_next("report", folder, workspace)


def _show_models(models: list[Path]) -> Iterable[Path]:
    """Each model in its turn; a terminal shows how many are done."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(models, "models", console=console, transient=True, disable=not console.is_terminal)
