"""Which study, or which run, is meant."""

import re
from pathlib import Path
from typing import TypeVar

from foldrace.studies import loading
from foldrace.studies.loading import Overrides
from foldrace.studies.study import Study

Named = str | Path | Study  # a study file, the name of a shipped study or of a run, or a study that was loaded
NamedT = TypeVar("NamedT", bound=Named)

WORKSPACE = Path("runs")


def load(
    study: str | Path, overrides: Overrides = (), *, name: str | None = None, workspace: str | Path | None = None
) -> Study:
    """The study of a file, a shipped study, or the study of a run.

    Args:
        study: a TOML file, the name of a shipped study (`demo`), or with `workspace` the name of a run.
        overrides: values by key, as {"training.lr": 3e-5, "training.epochs": {"low": 5, "high": 40}}; or texts as
            `--set` takes them.
        name: another name for the study: `--as`.
        workspace: a folder of runs. There, the name of a run means the study as it was run, and its data may be gone.

    Raises:
        StudyError: there is no such study, or it cannot run. The message names the file and the key.
    """
    if workspace is None:
        return loading.load(study, overrides, name)
    return loading.load(study, overrides, name, runs=Path(workspace), files=False)


def as_study(study: Named) -> Study:
    """A study to run: one that was loaded, or that of a file, or a shipped one."""
    return study if isinstance(study, Study) else load(study)


def as_run(study: Named, workspace: str | Path) -> Study:
    """The study of a run: one that was loaded, or that of a file, of a run in the workspace, or a shipped one."""
    return study if isinstance(study, Study) else load(study, workspace=workspace)


def final_folder(run: str | Path, workspace: str | Path) -> Path:
    """The folder of a final job: runs/demo/final-1, demo/final-1 in the workspace, or the newest finished of `demo`.

    One that is not there is returned as it was given.
    """
    from foldrace.search.ensemble.job import finished_jobs

    inside = Path(workspace) / run
    if is_final_folder(run) or is_final_folder(inside):
        return Path(run) if is_final_folder(run) else inside
    return next(iter(finished_jobs(inside)), Path(run))


def is_final_folder(study: Named) -> bool:
    """Whether the folder of a final job is meant, such as runs/demo/final-1."""
    return not isinstance(study, Study) and Path(study).is_dir() and Path(study).name.startswith("final-")


def split_final(study: NamedT) -> tuple[NamedT | str, int | None]:
    """The run and the number of its final job, of demo/final-1 or the folder of one; None where the run is meant."""
    match = None if isinstance(study, Study) else re.fullmatch(r"(.+)/final-([1-9]\d*)/?", str(study))
    if match is None:
        return study, None
    return (Path(match[1]).name if is_final_folder(str(study)) else match[1]), int(match[2])
