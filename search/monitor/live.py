"""The live view of a study: a screen that is redrawn at a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from foldrace.search.monitor.lines import minute_line, progress_line, worker_problems
from foldrace.search.monitor.status import StudyStatus
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.monitor.view import live_view
from foldrace.search.workers.supervisor import Snapshot
from foldrace.storage.database import Database

MINUTE = 60.0  # seconds between two lines of what the workers do, where there is no screen
_NO_WORKERS = Snapshot((), "")


class View(Protocol):
    """Where the progress of a study is shown."""

    def show(self, status: StudyStatus | None, snapshot: Snapshot, stale_reason: str) -> None:
        """Show the status; None while there is no study yet. `stale_reason` says why the status may be old."""

    def leave_problems(self, snapshot: Snapshot, stale_reason: str) -> None:
        """Leave on the terminal why a run ended badly, once the view is closed."""


@contextmanager
def open_view(refresh_per_second: float = 4.0, *, transient: bool = True) -> Iterator[View]:
    """The view for this terminal, or for a log. A transient screen is wiped at the end."""
    console = Console()
    if console.is_terminal:
        with Live(console=console, refresh_per_second=refresh_per_second, transient=transient) as live:
            yield _Screen(live)
    else:
        yield LineView()


def watch_status(database: Database, name: str, seconds: float = 2.0) -> None:
    """Show the status of a study, read anew every few seconds, until interrupted."""
    status = read_status(database, name)
    with open_view(2.0, transient=False) as view:
        while True:
            view.show(status, _NO_WORKERS, "")
            time.sleep(seconds)
            status = read_status(database, name)


class LineView:
    """A line whenever one changes, and one a minute of what each worker does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._shown: set[str] = set()
        self._clock, self._next = clock, clock() + MINUTE

    def show(self, status: StudyStatus | None, snapshot: Snapshot, stale_reason: str) -> None:
        for line in (progress_line(status), stale_reason, *worker_problems(snapshot)):
            if line and line not in self._shown:
                self._shown.add(line)
                print(line, flush=True)  # noqa: T201, this is the view
        if status is not None and status.alive and self._clock() >= self._next:
            self._next = self._clock() + MINUTE
            print(f"{time.strftime('%H:%M')} {minute_line(status)}", flush=True)  # noqa: T201

    def leave_problems(self, snapshot: Snapshot, stale_reason: str) -> None:
        pass  # they were printed


class _Screen:
    """The study above, and a row for each worker with a bar for its epoch."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, status: StudyStatus | None, snapshot: Snapshot, stale_reason: str) -> None:
        self._live.update(Group(live_view(status, snapshot), Text(stale_reason, style="yellow")))

    def leave_problems(self, snapshot: Snapshot, stale_reason: str) -> None:
        for line in filter(None, (stale_reason, *worker_problems(snapshot))):
            self._live.console.print(line, style="yellow", markup=False, highlight=False)
