"""The runs of a workspace, or the studies of a database, each as far as it can be read."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from foldrace.errors import FoldraceError, printable
from foldrace.search.monitor.columns import aligned
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.session import open_session, telling_start
from foldrace.search.study_store import name_of_run
from foldrace.storage import tables
from foldrace.storage.address import IN_WORKSPACE
from foldrace.storage.database import Database
from foldrace.storage.outages import RetryPolicy
from foldrace.storage.server.place import ServerPlace
from foldrace.storage.workspace import is_run
from foldrace.studies.loading import load

_ONCE = RetryPolicy(patience_seconds=0.0)
_TRIALS = tables.trials.c


@dataclass(frozen=True)
class RunSummary:
    """A run in a list.

    Attributes:
        state: as `foldrace status` says it; `unreadable` with an `error`.
        ended, total: trials; folds, where there are final jobs only.
        best: the value of the best trial; None until one is complete.
        finals: how many final jobs there are.
        workers: how many gave a sign of life within the lease time.
        seen: the last sign of life of a worker, in UTC; None where none has given one for a day.
        changed: when a trial began or ended last, in UTC; None where none has begun.
        error: why the run cannot be read; empty otherwise.
    """

    name: str
    state: str
    ended: int = 0
    total: int = 0
    metric: str = ""
    best: float | None = None
    finals: int = 0
    workers: int = 0
    seen: datetime | None = None
    changed: datetime | None = None
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """The summary as plain data."""
        times = {"seen": self.seen, "changed": self.changed}
        return asdict(self) | {name: None if time is None else time.isoformat() for name, time in times.items()}


def read_runs(workspace: Path) -> list[RunSummary]:
    """The runs in a folder, the one that changed last first. All databases are asked at the same time, once each."""
    folders = [folder for folder in sorted(workspace.glob("*/")) if is_run(folder)]
    with ThreadPoolExecutor(max(1, len(folders))) as pool:
        runs = list(pool.map(_summary, folders))
    return _newest_first(runs)


def read_studies(url: str, workspace: Path) -> list[RunSummary]:
    """The studies of a database, the one that changed last first; their final jobs and rescores count with them.

    Args:
        url: of a database, or `workspace` for the server of this workspace.

    Raises:
        StorageError: it does not answer, or is none of ours.
    """
    address = ServerPlace(workspace).url().render_as_string(hide_password=False) if url == IN_WORKSPACE else url
    with telling_start(url, workspace):
        opened = Database.open(address, create=False, retries=_ONCE)
    with closing(opened) as database:
        query = sa.select(tables.studies.c.study_name)
        names = set(database.read(lambda connection: connection.execute(query).scalars().all()))
        return _newest_first([_read_or_say(database, name) for name in sorted({n.partition("/")[0] for n in names})])


def _newest_first(runs: list[RunSummary]) -> list[RunSummary]:
    never = datetime.min.replace(tzinfo=UTC)
    return sorted(runs, key=lambda run: run.changed or never, reverse=True)


def run_lines(runs: list[RunSummary]) -> list[str]:
    """The runs in aligned lines under a header; those that cannot be read below them."""
    rows: list[tuple[str, ...]] = [
        ("name", "state", "trials", "best", "final jobs", "workers", "last sign of life", "changed")
    ]
    rows += [_cells(run) for run in runs if not run.error]
    unreadable = [f"{run.name}: {run.error}" for run in runs if run.error]
    return [*(aligned(rows) if len(rows) > 1 else []), *map(printable, unreadable)]


def _cells(run: RunSummary) -> tuple[str, ...]:
    best = "" if run.best is None else f"{run.metric} {run.best:.4f}"
    seen, changed = ("" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M}" for at in (run.seen, run.changed))
    counts = (f"{run.ended}/{run.total}", best, str(run.finals or ""), str(run.workers or ""))
    return printable(run.name), run.state, *counts, seen, changed


def _summary(folder: Path) -> RunSummary:
    try:
        study = load(folder.name, runs=folder.parent, files=False)
        with open_session(study, folder.parent, create=False, retries=_ONCE) as session:
            return _read(session.database, session.study.name)
    except FoldraceError as error:
        return RunSummary(folder.name, "unreadable", error=str(error))


def _read_or_say(database: Database, name: str) -> RunSummary:
    try:
        return _read(database, name)
    except FoldraceError as error:
        return RunSummary(name, "unreadable", error=str(error))


def _read(database: Database, name: str) -> RunSummary:
    status = read_status(database, name_of_run(database, name))
    silent = min((worker.silent_seconds for worker in status.workers), default=None)
    return RunSummary(
        name,
        status.state,
        status.ended,
        status.total,
        status.study.search.metric,
        None if status.best is None or status.is_final else status.best.value,
        len(status.finals),
        len(status.alive),
        None if silent is None else datetime.now(UTC) - timedelta(seconds=silent),
        database.read(lambda connection: _changed(connection, name)),
    )


def _changed(connection: sa.Connection, name: str) -> datetime | None:
    """When a trial of the study, or of a final job of it, began or ended last."""
    names = tables.studies.c.study_name
    query = sa.select(sa.func.max(sa.func.coalesce(_TRIALS.datetime_complete, _TRIALS.datetime_start)))
    query = query.join(tables.studies, tables.studies.c.study_id == _TRIALS.study_id)
    found = query.where((names == name) | names.startswith(f"{name}/", autoescape=True))
    last: datetime | None = connection.execute(found).scalar()
    return None if last is None else last.replace(tzinfo=UTC)
