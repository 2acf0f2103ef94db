"""What reads: how a run stands, its best trial, its reports; and an ensemble's answers to new rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from foldrace.search.api.naming import Named, final_folder, is_final_job, open_run, split_job
from foldrace.search.session import PAGE, Session
from foldrace.storage.errors import StorageError
from foldrace.storage.workspace import WORKSPACE
from foldrace.studies.loading import Overrides
from foldrace.studies.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from foldrace.search.ensemble.export import ExportedTrial, SelectedTrial
    from foldrace.search.ensemble.predict import Prediction, Track
    from foldrace.search.monitor.run_list import RunSummary
    from foldrace.search.monitor.status import StudyStatus
    from foldrace.search.monitor.trial_table import TrialTable
    from foldrace.storage.database import Database
    from foldrace.trainer.data.rows.in_memory import Rows


def status(study: Named, *, job: str | None = None, workspace: str | Path | None = None) -> "StudyStatus":
    """The status of a search, or of a final job: its trials, its best, what pruning saved, its workers.

    `print` shows it in lines. Of a study that was never searched, it is that of its newest final job.

    Args:
        study: a run, or a job beside it, as `demo/final-1` or `demo/rescore-1`.
        job: the job beside the search that is meant: final-1, rescore-1.

    Raises:
        StorageError: there is no such run.
    """
    from foldrace.search.cluster.slurm import jobs_of, queued_tasks
    from foldrace.search.monitor.status_reader import read_status, with_assessment
    from foldrace.search.study_store import changes_since_run, study_exists

    study, named = split_job(study)
    with open_run(study, workspace) as session:
        name = _name_of(session, named if job is None else job)
        queued = tuple(str(task) for task in queued_tasks(jobs_of(session.workspace)))
        if queued and not study_exists(session.database, name):
            raise StorageError(f"{name}: no worker has begun it yet; {'; '.join(queued)}")
        shown = with_assessment(session.database, read_status(session.database, name))
        return replace(shown, edited=changes_since_run(session.database, session.study), queued=queued)


def watch(study: Named, *, job: str | None = None, workspace: str | Path | None = None) -> None:
    """Show the status, read anew every few seconds, until interrupted."""
    from foldrace.search.monitor.live import watch_status

    with _opened(study, job, workspace) as (database, name):
        watch_status(database, name)


def trial_table(
    study: Named, *, job: str | None = None, top: int | None = None, workspace: str | Path | None = None
) -> "TrialTable":
    """The trials of a search, or the folds of a final job: state, score, folds, knobs, and why each was stopped.

    Args:
        top: only so many, the best first; by default all, by number.
        The others are those of `status`.
    """
    from foldrace.search.monitor.trial_table import read_trial_table

    with _opened(study, job, workspace) as (database, name):
        table = read_trial_table(database, name)
    return table if top is None else table.top(top)


def trials(study: Named, *, top: int | None = None, workspace: str | Path | None = None) -> "pd.DataFrame":
    """The same as a DataFrame: columns number, state, score, folds, one for each searched knob, and reason.

    `score` is the mean of the folds; of a trial that is not complete, the estimate after its last evaluation.
    """
    import pandas as pd

    table = trial_table(study, top=top, workspace=workspace)
    return pd.DataFrame(table.records(), columns=table.columns())


def list_runs(workspace: str | Path = WORKSPACE, *, storage: str | None = None) -> "list[RunSummary]":
    """The runs of a workspace, the one that changed last first; a run that cannot be read says why.

    Args:
        storage: list the studies of this database instead: a URL, or `workspace` for the workspace's own.

    Raises:
        StorageError: there is no such folder, or the database does not answer.
    """
    from foldrace.search.monitor.run_list import read_runs, read_studies

    if storage is None and Path(workspace) != WORKSPACE and not Path(workspace).is_dir():
        raise StorageError(f"{workspace}: no such folder")
    return read_runs(Path(workspace)) if storage is None else read_studies(storage, Path(workspace))


@contextmanager
def _opened(study: Named, job: str | None, workspace: str | Path | None) -> "Iterator[tuple[Database, str]]":
    """The database of a run, and the name that the search or the final job which is meant has there."""
    study, named = split_job(study)
    with open_run(study, workspace) as session:
        yield session.database, _name_of(session, named if job is None else job)


def _name_of(session: Session, job: str | None) -> str:
    """The name in the database of the search of a run, or of a job beside it."""
    from foldrace.search.study_store import job_name, name_of_run

    name = session.study.name
    return name_of_run(session.database, name) if job is None else job_name(name, job)


def best(study: Named, *, trial: int | str | None = None, workspace: str | Path | None = None) -> "SelectedTrial":
    """The best trial of a search: its value, its knobs, its folds.

    Args:
        trial: the number of another one, or `PRIOR/NUMBER` of one that was taken over.

    Raises:
        ExportError: no trial is complete, or not that one.
        StorageError: there is no such run, or one with other settings.
    """
    from foldrace.search.ensemble.export import select_trial

    with open_run(study, workspace) as session:
        return select_trial(session.database, session.study, None if trial is None else str(trial))


def export(
    study: Named,
    *,
    trial: int | str | None = None,
    output: str | Path | None = None,
    force: bool = False,
    workspace: str | Path | None = None,
) -> "ExportedTrial":
    """Write the leading trial as a study file with every knob fixed.

    Args:
        trial: the number of another one, or `PRIOR/NUMBER` of one that was taken over.
        output: where to write; final.toml in the folder of the run.
        force: overwrite the file that is there, even if it was edited.

    Raises: as `best`; and StorageError when the file that is there was edited.
    """
    from foldrace.search.ensemble.export import export_trial

    with open_run(study, workspace) as session:
        name = None if trial is None else str(trial)
        return export_trial(session, name, None if output is None else Path(output), force=force)


def export_prior(study: Named, output: str | Path, *, workspace: str | Path | None = None) -> str:
    """Write what a search found as a .json file that other studies begin from; returns what was written, in words."""
    from foldrace.search.priors.sources import write_prior

    with open_run(study, workspace) as session:
        return write_prior(session, Path(output))


def report(
    study: Named,
    *,
    overrides: Overrides = (),
    output: str | Path | None = None,
    workspace: str | Path | None = None,
) -> Path:
    """Write one HTML file about a search or a final job, which opens without a network, and return its path.

    Args:
        study: a run; or a final job, as demo/final-1 or its folder.
        overrides: of a final job's study, as `load` takes them: where its data is now.
        output: where to write; report.html in the folder of the run.

    Raises:
        FinalError: the final job has no finished ensemble.
        StorageError: there is no such run.
    """
    from foldrace.search.ensemble.outcome import open_outcome
    from foldrace.search.reports.final_report import final_report
    from foldrace.search.reports.search_report import search_report
    from foldrace.search.study_store import name_of_run
    from foldrace.storage.files.atomic import atomic_write

    if not isinstance(study, Study) and is_final_job(study):
        folder, text = final_folder(study, workspace), ""
    else:
        with open_run(study, workspace) as session:
            folder = session.workspace.root / name_of_run(session.database, session.study.name)
            text = search_report(session) if folder == session.workspace.folder else ""
    path = Path(output or folder / "report.html")
    atomic_write(path, text or final_report(open_outcome(folder, overrides)))
    return path


def dashboard(
    study: Named,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    allow_edit: bool = False,
    workspace: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a search in optuna-dashboard, behind a link with a token, until interrupted; `say` gets the link.

    Args:
        port: 0: any free one.
        allow_edit: let everybody who has the link change notes, trials and studies.

    Raises:
        DashboardError: host and port cannot be listened on.
    """
    from foldrace.search.dashboard.server import serve_dashboard

    with open_run(study, workspace, retries=PAGE) as session:
        serve_dashboard(session, host, port, allow_edit, say)


def predict(
    run: str | Path,
    rows: "Rows | pd.DataFrame | str | Path",
    *,
    device: str = "auto",
    overrides: Overrides = (),
    workspace: str | Path | None = None,
) -> "pd.DataFrame":
    """The answers of a finished ensemble to new rows: columns `label` and `probability`, a row for each.

    Args:
        run: the folder of a final job, such as runs/demo/final-1; or the name of a run, or its study file: then its
            newest final job.
        rows: the path of a data file in any format that a study reads; a DataFrame or dictionaries with its columns
            (id and label may be missing); or texts, or pairs of texts; of relations, texts whose entities are marked,
            as in `[S:PER]이순신[/S]은 [O]조선[/O]의 장수다.` The answers have the index of a DataFrame; in their
            `attrs["unknown"]` is the share of the tokens that the tokenizer does not know.
        device: `auto`, `cpu` or `cuda`.
        overrides: of the final job's study, as `load` takes them; `data.max_unknown=1` allows any text.

    Raises:
        FinalError: there is no finished ensemble.
        DataError: a row is malformed (the message names it, and the column), or too many tokens of a file are unknown.
    """
    import pandas as pd

    folder = final_folder(run, workspace)
    if isinstance(rows, pd.DataFrame):
        records = rows.astype(object).where(rows.notna(), None).to_dict("records")
        found, index = predict_rows(folder, records, device=device, overrides=overrides), rows.index
    else:
        source = Path(rows) if isinstance(rows, str) else rows
        found, index = predict_rows(folder, source, device=device, overrides=overrides), None
    names, votes = found.examples.labels.names, found.votes
    labels = [names[best] for best in votes.argmax(axis=1)]
    answers = pd.DataFrame({"label": labels, "probability": votes.max(axis=1)}, index=index)
    answers.attrs["unknown"] = found.unknown
    return answers


def predict_rows(
    folder: Path,
    rows: "Rows | Path",
    *,
    device: str = "auto",
    overrides: Overrides = (),
    track: "Track" = iter,
) -> "Prediction":
    """The same with every class's probability, the accuracy where labels are known, and the text of a submission.

    Args:
        folder: of a final job.
        track: goes through the models, and may show how far it is.
    """
    from foldrace.search.ensemble.predict import predict_rows
    from foldrace.trainer.modeling.devices import resolve_device

    return predict_rows(folder, rows, resolve_device(device), overrides, track)
