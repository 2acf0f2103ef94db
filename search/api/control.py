"""What changes a run: all its workers, on all machines, at their next heartbeat; and its files."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from foldrace.search.api.naming import Named, open_run, split_job
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.session import Session
from foldrace.search.study_store import stored_study, study_exists
from foldrace.storage.database import Database
from foldrace.storage.workers import Control, begun_studies, set_control
from foldrace.studies.study import StudyError

if TYPE_CHECKING:
    from foldrace.search.launch.cleaning import CleanedRun


def pause(study: Named, *, now: bool = False, workspace: str | Path | None = None) -> bool:
    """Let the workers finish the trials they run, and begin no other; False where all has ended, and nobody is asked.

    Args:
        now: trials that run are saved and released instead; `resume` continues them where they stood.
    """
    return _ask(study, workspace, "pausing" if now else "paused")


def resume(study: Named, *, workspace: str | Path | None = None) -> bool:
    """Let the workers of a paused study go on; False where all has ended, and nobody is asked."""
    return _ask(study, workspace, "running")


def stop(study: Named, *, workspace: str | Path | None = None) -> bool:
    """Let every worker save its trial, release it and end; `run`, or `resume` and new workers, continue.

    Tasks of Slurm that still wait are cancelled.

    Returns:
        Whether anybody was asked, or a task cancelled: False where all has ended.
    """
    from foldrace.search.cluster.slurm import cancel_queued, jobs_of

    with open_run(study, workspace) as session:
        begun = begun_studies(session.database, session.study.name)
        is_asked = bool(begun) and _ask_all(session, "stopping")
        is_cancelled = cancel_queued(jobs_of(session.workspace))
        if not is_cancelled and not begun:  # what no worker has begun may wait at Slurm
            return _ask_all(session, "stopping")
        return is_asked or bool(is_cancelled)


def clean(study: Named, *, dry_run: bool = False, workspace: str | Path | None = None) -> "CleanedRun":
    """Remove what nobody needs of a run's files, also while it runs, and say what it took on the disk.

    Checkpoints of folds that have ended go, the models of final jobs that a newer one of the same data and as many
    models supersedes, and what killed processes left half written. To use the ensemble of a superseded job, `final`
    has to train it again.

    Args:
        dry_run: only say what would go.
    """
    from foldrace.search.launch.cleaning import clean_run

    with open_run(study, workspace) as session:
        return clean_run(session, is_dry=dry_run)


def _ask(study: Named, workspace: str | Path | None, asked: Control) -> bool:
    with open_run(study, workspace) as session:
        return _ask_all(session, asked)


def _ask_all(session: Session, asked: Control) -> bool:
    database, name = session.database, session.study.name
    with suppress(StudyError):  # a newer foldrace made it, whose workers heed this as well
        if study_exists(database, name):
            stored_study(database, name)  # raises where another program made it
        if _has_ended(database, name):
            return False
    set_control(database, name, asked)
    return True


def _has_ended(database: Database, name: str) -> bool:
    """Whether a search and all jobs beside it have ended."""
    begun = [one for one in begun_studies(database, name) if one == name or split_job(one)[1]]
    return bool(begun) and all(read_status(database, one).state == "done" for one in begun)
