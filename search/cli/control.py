"""The commands that control all workers of a study: `pause`, `resume`, `stop`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from foldrace.search.cli.options import (
    WORKSPACE,
    NameOption,
    SetOption,
    StudyArgument,
    WorkspaceOption,
    load_run,
)
from foldrace.search.session import open_session
from foldrace.studies.study import Study

if TYPE_CHECKING:
    from foldrace.storage.workers import Control


def pause(
    study: StudyArgument, set_: SetOption = [], name: NameOption = None, workspace: WorkspaceOption = WORKSPACE
) -> None:
    """Let the workers finish the trials they run, and start no other."""
    _control(load_run(study, set_, name, workspace), workspace, "paused")


def resume(
    study: StudyArgument, set_: SetOption = [], name: NameOption = None, workspace: WorkspaceOption = WORKSPACE
) -> None:
    """Let the workers of a paused study go on."""
    _control(load_run(study, set_, name, workspace), workspace, "running")


def stop(
    study: StudyArgument, set_: SetOption = [], name: NameOption = None, workspace: WorkspaceOption = WORKSPACE
) -> None:
    """Let every worker save its trial, release it and end; `foldrace run`, or `resume` and new workers, continue."""
    _control(load_run(study, set_, name, workspace), workspace, "stopping")


def _control(study: Study, workspace: Path, asked: "Control") -> None:
    from foldrace.storage.workers import set_control

    with open_session(study, workspace, create=False) as session:
        set_control(session.database, session.study.name, asked)
    typer.echo(f"{session.study.name}: {asked}; every worker sees it at its next heartbeat")
