"""What trains: a study is checked, searched, and made an ensemble."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from weakref import finalize

from foldrace.errors import short_repr
from foldrace.search.api.naming import Named, as_study, find_workspace, load, open_run, refuse_run
from foldrace.search.session import (
    VIEW,
    Session,
    begin_session,
    open_session,
    refuse_missing_folder,
    refuse_other_database,
    start_storage,
)
from foldrace.search.study_store import changes_since_run
from foldrace.search.workers.slots import SlotError, slots
from foldrace.storage.address import sqlite_url
from foldrace.storage.database import Database
from foldrace.storage.errors import OutageError, StorageError
from foldrace.storage.workspace import Workspace, is_run
from foldrace.studies.study import Study

if TYPE_CHECKING:
    from foldrace.search.launch.final import FinishedFinal
    from foldrace.search.launch.new_study import NewStudy
    from foldrace.search.launch.preflight import Preflight
    from foldrace.search.launch.rescore import FinishedRescore
    from foldrace.search.launch.search import FinishedSearch
    from foldrace.search.launch.supervision import Engine, EngineOptions
    from foldrace.trainer.training_data import TrainingData


def init(
    data: str | Path,
    *,
    model: str = "tiny",
    minutes: float | None = None,
    output: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> "NewStudy":
    """Look at data, and write a study file that runs as it is.

    Args:
        data: a folder with training rows, and test rows and labels where there are some; or the training file.
        model: a name on the hub, a folder, or `tiny`.
        minutes: fit trials, folds and epochs to so many on the devices of this machine, by timing a few steps.
        output: the file; by default NAME.toml in the current folder, called after the data. It is never overwritten.
        columns: the names of columns that are not the usual ones, by what they are: `{"label": "topic"}`.

    Raises:
        StudyError: the file is there already, there is no training file, or the time is too short for a search.
        DataError: the rows have a fault.
    """
    from foldrace.search.launch.new_study import new_study

    return new_study(Path(data), model, minutes, None if output is None else Path(output), columns or {})


def check(study: Named, *, devices: str = "auto", workspace: str | Path | None = None) -> "Preflight":
    """What would be run, and how long it would take here. The time is measured when it is first asked for.

    Of a study without a run, nothing stays in the workspace.

    Raises:
        StudyError, DataError: the study or its data has a fault.
        StorageError: the workspace cannot be written, or the URL of the storage is wrong.
        FoldraceError: the source of a prior cannot be read.
        SlotError: the devices asked for cannot be used.
    """
    asked, places, root = as_study(study), slots(devices), find_workspace(study, workspace)
    of_run = Workspace(root, asked.name)
    refuse_missing_folder(asked, of_run)
    of_run.refuse_unwritable()

    from foldrace.search.launch.preflight import Preflight
    from foldrace.trainer.training_data import open_training_data

    priors = _priors(asked, of_run)
    data = open_training_data(asked, of_run) if is_run(of_run.folder) else _open_aside(asked)
    return Preflight(data, places, _changes_since_run(asked, root), priors)


def _open_aside(study: Study) -> "TrainingData":
    """The data of a study without a run: the folder of its tokenizer and its folds goes away with it."""
    from foldrace.trainer.training_data import open_training_data

    with ExitStack() as stack:
        data = open_training_data(study, Workspace(stack.enter_context(TemporaryDirectory()), study.name))
        finalize(data, stack.pop_all().close)
        return data


def _priors(study: Study, workspace: Workspace) -> tuple[str, ...]:
    """How the study would use each prior that it does not have yet, in lines; it need not have a database."""
    if not study.search.prior:
        return ()

    from foldrace.search.launch.search import prior_lines

    with ExitStack() as stack:
        try:
            session = stack.enter_context(open_session(study, workspace.root, create=False, retries=VIEW))
        except OutageError:
            raise
        except StorageError:
            file = Path(stack.enter_context(TemporaryDirectory()), "empty.db")
            session = Session(study, workspace, stack.enter_context(closing(Database.open(sqlite_url(file)))))
        return tuple(prior_lines(session))


def _changes_since_run(study: Study, root: Path) -> str:
    with suppress(StorageError), open_run(study, root) as session:
        return changes_since_run(session.database, study)
    return ""  # there is no run yet


def run(
    study: Named,
    *,
    workers: int | str | None = None,
    devices: str = "auto",
    per_device: int = 1,
    hours: float | None = None,
    engine: str = "local",
    address: str | None = None,
    workspace: str | Path | None = None,
    wait: float = 0.0,
    say: Callable[[str], None] = print,
) -> "FinishedSearch":
    """Create or continue a search, with one worker process for each device slot; progress is printed.

    Args:
        workers: processes on the CPU; at most so many on GPUs. On a Ray cluster also `4..16`: as many as have room.
        devices: `auto`, `cpu`, or CUDA indices such as `0,1,3`.
        per_device: workers that share each GPU.
        hours: stop after so many; the same call continues.
        engine: where the workers run: `local`, on this machine, or `ray`, on the nodes of a Ray cluster.
        address: of the cluster: HOST:PORT; by default the one that this machine belongs to.
        wait: seconds to wait for a database that does not answer.
        say: gets a line before the workers start: what priors give, say.

    Raises:
        FoldraceError: something that the user has to mend.
        RunStopped: Ctrl-C, or SIGTERM. The workers saved and released their trials; the same call continues.
    """
    from foldrace.search.launch.search import check_search, make_search, search
    from foldrace.search.launch.supervision import EngineOptions

    asked, root = as_study(study), find_workspace(study, workspace)
    check_search(asked)
    places = _engine(asked, root, engine, EngineOptions(workers, devices, per_device, address), say)
    with places as where, _open_started(asked, root, wait) as session:
        refuse_other_database(session)
        if engine == "ray":
            make_search(session)
        return search(session, where, None if hours is None else hours * 3600, say)


@contextmanager
def _engine(
    study: Study, root: Path, name: str, options: "EngineOptions", say: Callable[[str], None]
) -> "Iterator[Engine]":
    """Where the workers of a study run. Raises FoldraceError where they cannot."""
    from foldrace.search.launch.supervision import local_engine

    workers = options.workers
    if name == "ray":
        from foldrace.search.cluster.ray.engine import ray_engine

        with ray_engine(study, root, options, say) as engine:
            yield engine
        return
    if name != "local":
        raise SlotError(f"--engine {short_repr(name)}: expected local or ray")
    if options.address is not None:
        raise SlotError(f"--address {options.address}: of a Ray cluster; it needs --engine ray")
    if isinstance(workers, str) and not re.fullmatch(r"-?\d{1,9}", workers):
        raise SlotError(f"--workers {short_repr(workers)}: expected a number; a range, as 4..16, needs --engine ray")
    yield local_engine(slots(options.devices, None if workers is None else int(workers), options.per_device))


@contextmanager
def _open_started(study: Study, root: Path, wait: float) -> Iterator[Session]:
    start_storage(study, root)
    with begin_session(study, root, wait) as session:
        yield session


def final(
    study: Named,
    *,
    workers: int | str | None = None,
    devices: str = "auto",
    per_device: int = 1,
    engine: str = "local",
    address: str | None = None,
    workspace: str | Path | None = None,
    wait: float = 0.0,
    say: Callable[[str], None] = print,
) -> "FinishedFinal":
    """Train every fold of a final job, join their votes, write the submission; continues where it was interrupted.

    Args:
        study: one with every knob fixed, as `export` writes it.
        say: gets a line before the workers start, where test rows are training rows too.

    The others are those of `run`, and so is what is raised.
    """
    from foldrace.search.ensemble.job import final_study
    from foldrace.search.launch.final import check_final, finish
    from foldrace.search.launch.supervision import EngineOptions

    root = find_workspace(study, workspace)
    refuse_run(study, root)
    asked = as_study(study)
    for warning in check_final(asked):
        say(warning)
    places = _engine(final_study(asked), root, engine, EngineOptions(workers, devices, per_device, address), say)
    with places as where, _open_started(asked, root, wait) as session:
        return finish(session, where)


def rescore(
    study: Named,
    *,
    top: int = 3,
    repeats: int = 1,
    workers: int | str | None = None,
    devices: str = "auto",
    per_device: int = 1,
    engine: str = "local",
    address: str | None = None,
    workspace: str | Path | None = None,
    wait: float = 0.0,
    say: Callable[[str], None] = print,
) -> "FinishedRescore":
    """Train the leaders of a search on fresh folds with fresh seeds: how good they are where nothing chose them.

    It continues where it was interrupted, and finds what is done. Several at once share the work.

    Args:
        study: a run.
        top: how many of the trials that lead by the search's own folds.
        repeats: fresh splits of the rows into folds.

    The others are those of `run`, and so is what is raised.
    """
    from foldrace.search.launch.rescore import rescore, rescored_study
    from foldrace.search.launch.supervision import EngineOptions

    root = find_workspace(study, workspace)
    asked = study if isinstance(study, Study) else load(study, workspace=root)
    options = EngineOptions(workers, devices, per_device, address)
    with _engine(rescored_study(asked), root, engine, options, say) as where:
        start_storage(asked, root)
        with open_run(asked, root, wait, VIEW) as session:
            return rescore(session, where, top, repeats, say)
