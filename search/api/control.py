"""What reaches all workers of a study, on all machines, at their next heartbeat."""

from pathlib import Path

from foldrace.search.api.naming import Named, open_run
from foldrace.storage.workers import Control, set_control


def pause(study: Named, *, now: bool = False, workspace: str | Path | None = None) -> None:
    """Let the workers finish the trials they run, and begin no other.

    Args:
        now: trials that run are saved and released instead; `resume` continues them where they stood.
    """
    _ask(study, workspace, "pausing" if now else "paused")


def resume(study: Named, *, workspace: str | Path | None = None) -> None:
    """Let the workers of a paused study go on."""
    _ask(study, workspace, "running")


def stop(study: Named, *, workspace: str | Path | None = None) -> None:
    """Let every worker save its trial, release it and end; `run`, or `resume` and new workers, continue."""
    _ask(study, workspace, "stopping")


def _ask(study: Named, workspace: str | Path | None, asked: Control) -> None:
    with open_run(study, workspace) as session:
        set_control(session.database, session.study.name, asked)
