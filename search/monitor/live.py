"""The live view of `run` and `final`: workers looked after in this thread, the database in another.

Plain lines when nobody looks at a terminal.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from foldrace.errors import FoldraceError
from foldrace.search.monitor.poller import StatusPoller
from foldrace.search.monitor.status import StudyStatus
from foldrace.search.monitor.status_reader import find_status, read_status
from foldrace.search.monitor.view import live_view, progress_line, status_lines, worker_problems
from foldrace.search.session import Session
from foldrace.search.study_store import FinalFold, final_name
from foldrace.search.workers.command import WorkerCommand
from foldrace.search.workers.slots import Slot
from foldrace.search.workers.supervisor import Snapshot, Supervisor
from foldrace.storage.errors import StorageError
from foldrace.storage.leases import mark_orphaned


def watch(
    session: Session,
    places: Sequence[Slot],
    final: int | None = None,
    seconds_left: Callable[[], float] = lambda: float("inf"),
) -> int:
    """Run a worker in each slot to the end of the work or time, while showing how it stands; returns the exit status.

    Raises:
        FoldraceError: a worker met what the user has to mend.
    """
    command = WorkerCommand(session, final, seconds_left)
    folder = session.workspace.folder if final is None else session.workspace.final(final).folder
    name = session.study.name if final is None else final_name(session.study.name, final)
    supervisor = Supervisor(command, places, folder / "logs")
    poller = _poller(session, name, command)
    console = Console()
    with Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else nullcontext() as live:
        show = _Lines() if live is None else _Screen(live)

        def tick(snapshot: Snapshot) -> None:
            poller.observe(snapshot)
            show(poller.status, snapshot, poller.stale_reason)

        with poller:
            status = supervisor.run(tick)
        tick(supervisor.snapshot())  # what was seen at last
    if live is not None and status:  # the screen is wiped: what went wrong stays
        for line in filter(None, (poller.stale_reason, *worker_problems(supervisor.snapshot()))):
            console.print(line, style="yellow", markup=False, highlight=False)
    refused = [worker.note for worker in supervisor.snapshot().workers if worker.state == "refused"]
    if refused:
        raise FoldraceError(refused[0].removeprefix("foldrace: "))
    return status


def watch_status(session: Session, name: str, seconds: float = 2.0) -> None:
    """Refresh the status until interrupted; without a terminal, a line whenever something changes."""
    status, console, alone = read_status(session.database, name), Console(), Snapshot((), "")
    with Live(console=console, refresh_per_second=2) if console.is_terminal else nullcontext() as live:
        show = _Lines() if live is None else _Screen(live)
        while True:
            show(status, alone, "")
            time.sleep(seconds)
            status = read_status(session.database, name)


def closing_lines(session: Session) -> list[str]:
    """How a search stands when its run has ended, or why nobody can say."""
    try:
        status = find_status(session.database, session.study.name)
        return [] if status is None else status_lines(status)  # it may have ended before a worker made the study
    except StorageError as error:
        return [f"study     {session.study.name}: {error}; the same command continues it"]


def refuse_unfinished(status: StudyStatus, missing: Sequence[FinalFold]) -> None:
    """Raise FoldraceError unless a final job is over, and no fold's files are missing."""
    if status.unfinished:
        raise FoldraceError(f"{status.name}: stopped before its folds were done; the same command continues")
    if missing:
        failed = "; ".join(sorted({failure.reason for failure in status.failures})) or "their files are gone"
        raise FoldraceError(f"{status.name}: folds failed ({failed}); the same command trains them again")


def _poller(session: Session, name: str, command: WorkerCommand) -> StatusPoller:
    database = session.database
    return StatusPoller(
        lambda: find_status(database, name),
        owner_in=lambda slot: command.owners.get(slot.index),
        mark_dead=lambda owner, reason: mark_orphaned(database, owner, reason),
    )


class _Lines:
    """One line whenever a trial ends or something is in trouble: for logs."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def __call__(self, status: StudyStatus | None, snapshot: Snapshot, trouble: str) -> None:
        for line in (progress_line(status), trouble, *worker_problems(snapshot)):
            if line and line not in self._shown:
                self._shown.add(line)
                print(line, flush=True)  # noqa: T201, this is the view


class _Screen:
    """One row a worker, with a bar for its epoch, and the study above."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def __call__(self, status: StudyStatus | None, snapshot: Snapshot, trouble: str) -> None:
        self._live.update(Group(live_view(status, snapshot), Text(trouble, style="yellow")))
