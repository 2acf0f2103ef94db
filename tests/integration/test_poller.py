"""The poller beside a supervisor of real processes: a database that does not answer holds up the view alone."""

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from foldrace.search.monitor.poller import STALE_SECONDS, StatusPoller
from foldrace.search.monitor.status import StudyStatus
from foldrace.search.workers.slots import Slot
from foldrace.search.workers.supervisor import Snapshot, Supervisor, WorkerView, local_crew
from foldrace.storage.errors import StorageError

SLOT = Slot(0, "cpu", threads=1)
CRASHED = Snapshot((WorkerView(SLOT, "waiting", None, 0, "worker 0 was ended", ("a line",), Path("log")),), "")
IN_VAIN = 30.0  # seconds


class SilentDatabase:
    """A database that answers once it is let to, and then with `error` if there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.answers, self.refused, self.error = threading.Event(), threading.Event(), error
        self.marked: list[tuple[str, str, bool]] = []

    def read(self) -> StudyStatus | None:
        assert self.answers.wait(IN_VAIN)
        error = self.error
        if error is not None:
            self.refused.set()
            raise error
        return None

    def mark_dead(self, owner: str, reason: str, is_attempt: bool) -> None:
        self.read()
        self.marked.append((owner, reason, is_attempt))

    def poller(self, now: list[float]) -> StatusPoller:
        return StatusPoller(self.read, lambda slot: f"owner-{slot.index}", self.mark_dead, clock=lambda: now[0])


def test_workers_are_reaped_and_started_again_while_the_database_is_silent(tmp_path: Path, now: list[float]) -> None:
    database = SilentDatabase()
    command = [sys.executable, "-S", "-c", "raise SystemExit(9)"]
    crew = local_crew(lambda _: command, [SLOT], tmp_path, lambda: now[0])
    supervisor = Supervisor(crew, clock=lambda: now[0], pause=lambda _: time.sleep(0.01))
    poller = database.poller(now)

    def tick(snapshot: Snapshot) -> None:
        now[0] += 1.0
        poller.observe(snapshot)

    with poller:
        status = supervisor.run(tick)
        stale_reason = poller.stale_reason
        database.answers.set()

    assert status == 1
    assert supervisor.snapshot().workers[0].restarts == 4
    assert "the database has not answered for 15 s" in stale_reason
    assert [owner for owner, *_ in database.marked] == ["owner-0"], "marked as soon as it answered"
    assert poller.stale_reason == ""


def test_a_death_that_the_database_refused_is_marked_again(now: list[float]) -> None:
    database = SilentDatabase(StorageError("connection refused"))
    database.answers.set()
    poller = database.poller(now)

    with poller:
        poller.observe(CRASHED)
        assert database.refused.wait(IN_VAIN)
        database.error = None

    assert database.marked == [("owner-0", "worker 0 was ended: a line", True)]


def test_a_worker_killed_with_its_run_frees_its_trial_and_counts_as_no_attempt(now: list[float]) -> None:
    database = SilentDatabase()
    database.answers.set()
    killed = replace(CRASHED.workers[0], state="stopped", note="", last_lines=(), died=False)

    with database.poller(now) as poller:
        poller.observe(Snapshot((killed,), "a second signal came"))

    assert database.marked == [("owner-0", "stopped with its run", False)]


def test_an_error_that_lasts_is_the_reason_why_the_status_is_stale(now: list[float]) -> None:
    database = SilentDatabase(StorageError("connection refused"))
    database.answers.set()
    with database.poller(now) as poller:
        pass

    assert poller.stale_reason == ""
    now[0] += STALE_SECONDS + 1
    assert poller.stale_reason == "connection refused; the workers wait for it"


def test_a_fault_of_ours_ends_the_run(now: list[float]) -> None:
    database = SilentDatabase(KeyError("no such column"))
    database.answers.set()
    with database.poller(now) as poller:
        pass

    with pytest.raises(KeyError, match="no such column"):
        poller.observe(CRASHED)
