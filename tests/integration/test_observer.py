"""The observer beside a supervisor of real processes: a database that does not answer holds up the view alone."""

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from foldrace.search.monitor.poller import SILENCE_SECONDS, Observer
from foldrace.search.monitor.status import Standing
from foldrace.search.workers.slots import Slot
from foldrace.search.workers.supervisor import Snapshot, Supervisor, WorkerView
from foldrace.storage.errors import StorageError

SLOT = Slot(0, "cpu", threads=1)
CRASHED = Snapshot((WorkerView(SLOT, "waiting", None, 0, "worker 0 was ended", ("a line",), Path("log")),), "")
IN_VAIN = 30.0  # seconds


class Silent:
    """A database that answers once it is let to, and then with `error` if there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.answers, self.refused, self.error = threading.Event(), threading.Event(), error
        self.buried: list[tuple[str, str]] = []

    def look(self) -> Standing | None:
        assert self.answers.wait(IN_VAIN)
        error = self.error
        if error is not None:
            self.refused.set()
            raise error
        return None

    def bury(self, owner: str, reason: str) -> None:
        self.look()
        self.buried.append((owner, reason))

    def observer(self, now: list[float]) -> Observer:
        return Observer(self.look, lambda slot: f"owner-{slot.index}", self.bury, clock=lambda: now[0])


def test_workers_are_reaped_and_started_again_while_the_database_is_silent(tmp_path: Path, now: list[float]) -> None:
    database = Silent()
    command = [sys.executable, "-S", "-c", "raise SystemExit(9)"]
    supervisor = Supervisor(lambda _: command, [SLOT], tmp_path, clock=lambda: now[0], pause=lambda _: time.sleep(0.01))
    observer = database.observer(now)

    def tick(snapshot: Snapshot) -> None:
        now[0] += 1.0
        observer.heed(snapshot)

    with observer:
        status = supervisor.run(tick)
        trouble = observer.trouble
        database.answers.set()

    assert status == 1
    assert supervisor.snapshot().workers[0].restarts == 4
    assert "the database has not answered for 15 s" in trouble
    assert [owner for owner, _ in database.buried] == ["owner-0"], "told as soon as it answered"
    assert observer.trouble == ""


def test_a_burial_that_the_database_refused_is_told_again(now: list[float]) -> None:
    database = Silent(StorageError("connection refused"))
    database.answers.set()
    observer = database.observer(now)

    with observer:
        observer.heed(CRASHED)
        assert database.refused.wait(IN_VAIN)
        database.error = None

    assert database.buried == [("owner-0", "worker 0 was ended: a line")]


def test_the_trial_of_a_worker_killed_with_its_run_is_freed(now: list[float]) -> None:
    database = Silent()
    database.answers.set()
    killed = replace(CRASHED.workers[0], state="stopped", note="", last_lines=())

    with database.observer(now) as observer:
        observer.heed(Snapshot((killed,), "a second signal came"))

    assert database.buried == [("owner-0", "stopped with its run")]


def test_what_the_database_said_is_told_when_it_lasts(now: list[float]) -> None:
    database = Silent(StorageError("connection refused"))
    database.answers.set()
    with database.observer(now) as observer:
        pass

    assert observer.trouble == ""
    now[0] += SILENCE_SECONDS + 1
    assert observer.trouble == "connection refused; the workers wait for it"


def test_a_fault_of_ours_ends_the_run(now: list[float]) -> None:
    database = Silent(KeyError("no such column"))
    database.answers.set()
    with database.observer(now) as observer:
        pass

    with pytest.raises(KeyError, match="no such column"):
        observer.heed(CRASHED)
