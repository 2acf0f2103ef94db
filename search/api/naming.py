"""Which study, which run, and which folder of runs is meant."""

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from foldrace.search.session import Session, open_session, refuse_other_storage
from foldrace.storage.errors import StorageError
from foldrace.storage.outages import PATIENT, RetryPolicy
from foldrace.storage.workspace import WORKSPACE, Workspace, is_run
from foldrace.studies import loading
from foldrace.studies.loading import Overrides
from foldrace.studies.study import Study, StudyError

Named = str | Path | Study  # a study file, the name of a shipped study or of a run, or a study that was loaded
NamedT = TypeVar("NamedT", bound=Named)


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


def refuse_run(study: Named, root: Path) -> None:
    """Raise StudyError where the name of a search is given to a final job, which takes what `export` writes."""
    if isinstance(study, Study) or Path(study).exists() or (loading.SHIPPED / f"{study}.toml").is_file():
        return
    if Path(study).name == str(study) and (root / study / "study.toml").is_file():
        file = root / study / "final.toml"
        there = "" if root == WORKSPACE else f" --workspace {root}"
        first = "" if file.is_file() else f", which foldrace export {study}{there} writes first"
        raise StudyError(f"{study}: the name of a run; foldrace final takes {file}{first}")


def find_workspace(study: Named, workspace: str | Path | None = None, name: str | None = None) -> Path:
    """The folder of runs that is meant: the one that is given or that a run's path names, or `runs` here.

    Where that one lacks the run of a study file, and the `runs` beside the file, or around it, has it, it is that one.

    Args:
        name: the run's, where it is not the file's: `--as`.

    Raises:
        StorageError: the path of a run is given, and another folder of runs than that it is in.
    """
    folder = _run_folder(study)
    if workspace is not None:
        if folder is not None and folder.parent.resolve() != Path(workspace).resolve():
            raise StorageError(f"--workspace {workspace}: {study} is a run in another folder; leave one of the two out")
        return Path(workspace)
    if folder is not None:
        return folder.parent
    if isinstance(study, Study) or not (file := Path(study)).is_file():
        return WORKSPACE
    run = name or _name_in(file)
    places = [WORKSPACE, file.parent / WORKSPACE]
    if file.parent.name == run:  # such as the final.toml of a run
        places.append(file.parent.parent)
    return next((place for place in places if run and is_run(place / run)), WORKSPACE)


@contextmanager
def open_run(
    study: Named, workspace: str | Path | None, wait: float = 0.0, retries: RetryPolicy = PATIENT
) -> Iterator[Session]:
    """Open a run that is there: of a study that was loaded, of a file, of its name in a workspace, or a shipped one.

    Raises:
        StudyError: there is no such study.
        StorageError: it was never run in this workspace, or its database does not answer.
    """
    root = find_workspace(study, workspace)
    run = study if isinstance(study, Study) else load(study, workspace=root)
    if run.search.storage is None and not is_run(root / run.name):
        raise StorageError(loading.no_run(run.name, root))
    refuse_other_storage(run, Workspace(root, run.name))
    with open_session(run, root, wait, create=False, retries=retries) as session:
        yield session


def _name_in(file: Path) -> str | None:
    """The name of the study in a file; None where it has none, or is no study file."""
    with suppress(OSError, ValueError):
        name = tomllib.loads(file.read_text(encoding="utf-8-sig")).get("name")
        return name if isinstance(name, str) else None
    return None


def final_folder(run: str | Path, workspace: str | Path | None) -> Path:
    """The folder of a final job: runs/demo/final-1, demo/final-1 in the workspace, or the newest finished of `demo`.

    The file of a study means its run; that of a final job, the job. One that is not there is returned as it was given,
    or where its run would be.
    """
    from foldrace.search.ensemble.job import finished_jobs

    if (file := Path(run)).is_file() and (name := _name_in(file)):
        folder = find_workspace(file, workspace) / name
        return file.parent if is_final_folder(file.parent) else next(iter(finished_jobs(folder)), folder)
    inside = find_workspace(run, workspace) / run if _run_folder(run) is None else Path(run)
    if is_final_folder(run) or is_final_folder(inside):
        return Path(run) if is_final_folder(run) else inside
    is_inside = Path(run).name == str(run) or is_run(inside) or is_run(inside.parent)
    return next(iter(finished_jobs(inside)), inside if is_inside and not Path(run).exists() else Path(run))


def is_final_folder(study: Named) -> bool:
    """Whether it is the folder of a final job, such as runs/demo/final-1."""
    return not isinstance(study, Study) and Path(study).is_dir() and Path(study).name.startswith("final-")


def is_final_job(study: Named) -> bool:
    """Whether a final job is meant, such as runs/demo/final-1 or demo/final-1, also where it is not there."""
    return is_final_folder(study) or (split_job(study)[1] or "").startswith("final-")


def split_job(study: NamedT) -> tuple[NamedT | str, str | None]:
    """The run and its job, of demo/final-1, demo/rescore-1 or the folder of one; None where the run is meant."""
    match = None if isinstance(study, Study) else re.fullmatch(r"(.+)/((?:final|rescore)-[1-9]\d*)/?", str(study))
    if match is None:
        return study, None
    return match[1], match[2]


def _run_folder(study: Named) -> Path | None:
    """The folder of a run that is given by its path, or by that of a job in it; None where it is given otherwise."""
    run, _ = split_job(study)
    if isinstance(run, Study) or (Path(run).name == str(run) != "..") or not is_run(Path(run)):
        return None
    folder = Path(run)
    return folder.resolve() if folder.name in ("", "..") or folder.is_symlink() else folder
