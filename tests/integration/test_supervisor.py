"""The supervisor with real processes and real signals; the clock is moved, and waiting is for files, not for time."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from foldrace.search.workers import process as processes
from foldrace.search.workers import supervisor
from foldrace.search.workers.slots import Slot
from foldrace.search.workers.supervisor import Snapshot, Supervisor, SupervisorError, local_crew
from foldrace.storage.errors import StorageError

MOST_TICKS = 6000  # of 10 ms: a test that waits in vain ends here

# A worker that says it is ready and ends in order when it is asked to; its arguments are the folder and its index.
OBEDIENT = """
import pathlib, signal, sys
folder, index = pathlib.Path(sys.argv[1]), sys.argv[2]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
(folder / f"ready-{index}").touch()
signal.sigwait({signal.SIGTERM})
(folder / f"ended-{index}").touch()
"""
STUBBORN = OBEDIENT.replace("signal.sigwait", "signal.pause()  #")
DONE = "pass"
REFUSES = "print('bad.toml: lr: not a number'); raise SystemExit(2)"

IMPORT = "from foldrace.search.workers.parent_death import end_with_parent"


class Run:
    """A supervisor over tiny scripts, one a slot, with a clock that stands still unless a test moves it."""

    def __init__(self, folder: Path, *scripts: str) -> None:
        self.folder = folder
        self.now = 0.0
        self.snapshots: list[Snapshot] = []
        slots = [Slot(index, "cpu", threads=1) for index in range(len(scripts))]

        def command(slot: Slot) -> list[str]:
            return [sys.executable, "-S", "-c", scripts[slot.index], str(folder), str(slot.index)]

        self.pauses = 0
        crew = local_crew(command, slots, folder / "logs", lambda: self.now)
        self.supervisor = Supervisor(crew, clock=lambda: self.now, pause=self._pause)

    def until_it_ends(self, each_tick: Callable[[Snapshot], None] = lambda _snapshot: None) -> int:
        """Backoffs pass at once; each tick is also handed to the test."""

        def on_tick(snapshot: Snapshot) -> None:
            self.snapshots.append(snapshot)
            assert len(self.snapshots) < MOST_TICKS, "waited in vain"
            if any(worker.state == "waiting" for worker in snapshot.workers):
                self.now += 1.0
            each_tick(snapshot)

        return self.supervisor.run(on_tick)

    def _pause(self, _seconds: float) -> None:
        time.sleep(0.01)
        self.pauses += 1
        if self.pauses > MOST_TICKS:  # a test that fails still ends its workers
            self.now += 1.0

    @property
    def last(self) -> Snapshot:
        return self.snapshots[-1]

    def states(self) -> list[str]:
        return [worker.state for worker in self.last.workers]

    def starts(self) -> int:
        return (self.folder / "logs/worker-0.log").read_text().count("started")

    def signals_once_ready(self, *signals: signal.Signals) -> Callable[[Snapshot], None]:
        """Sends this process one signal when every worker is ready, and each further one when the last was handled."""
        left = list(signals)

        def each_tick(snapshot: Snapshot) -> None:
            ready = all((self.folder / f"ready-{worker.slot.index}").exists() for worker in snapshot.workers)
            handled = len(left) == len(signals) or snapshot.stopping
            if left and ready and handled:
                os.kill(os.getpid(), left.pop(0))

        return each_tick


@pytest.fixture(autouse=True)
def handlers_stay_as_they_were() -> Iterator[None]:
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_run_whose_workers_find_nothing_left_to_do_exits_0(tmp_path: Path) -> None:
    run = Run(tmp_path, DONE, DONE)

    assert run.until_it_ends() == 0

    assert run.states() == ["done", "done"]
    assert run.last.stopping == ""


def test_a_worker_gets_the_environment_of_its_slot_and_its_output_is_appended_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs/worker-0.log"
    log.parent.mkdir()
    log.write_text("from an earlier run\n")
    names = ["CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM"]
    script = f"import os; print([os.environ[name] for name in {names}], os.getsid(0) == os.getpid())"

    assert Run(tmp_path, script).until_it_ends() == 0

    assert log.read_text() == "from an earlier run\n['', '1', '1', 'false'] True\n"


def test_two_runs_in_one_folder_never_share_a_log(tmp_path: Path) -> None:
    first = Run(tmp_path, "print('first')", "print('first')")
    second = Run(tmp_path, "print('second')", "print('second')")
    assert [first.until_it_ends(), second.until_it_ends()] == [0, 0]
    logs = {path.name: path.read_text().split() for path in (tmp_path / "logs").iterdir()}

    assert logs == {f"worker-{number}.log": [["first"], ["second"]][number // 2] for number in range(4)}
    assert [worker.log.name for worker in second.last.workers] == ["worker-2.log", "worker-3.log"]


def test_a_crashed_worker_is_started_again_and_its_last_lines_are_shown(tmp_path: Path) -> None:
    script = """
import os, pathlib, sys
been_here = pathlib.Path(sys.argv[1]) / "been-here"
if not been_here.exists():
    been_here.touch()
    print(*range(10), sep="\\n", flush=True)
    os.kill(os.getpid(), 9)
"""
    run = Run(tmp_path, script)

    assert run.until_it_ends() == 0

    [worker] = run.last.workers
    assert (worker.state, worker.restarts, worker.last_lines) == ("done", 1, ("5", "6", "7", "8", "9"))
    assert "worker 0 (cpu) was ended by SIGKILL" in worker.note
    assert worker.died
    assert "started again in 1 s" in worker.note


def test_a_worker_that_crashes_again_and_again_is_given_up_while_the_others_go_on(tmp_path: Path) -> None:
    until_given_up = (
        "import pathlib, sys, time\nwhile not (pathlib.Path(sys.argv[1]) / 'given-up').exists(): time.sleep(.01)"
    )
    run = Run(tmp_path, "print('started'); raise SystemExit(3)", until_given_up)

    def each_tick(snapshot: Snapshot) -> None:
        if snapshot.workers[0].state == "given up":
            (tmp_path / "given-up").touch()

    assert run.until_it_ends(each_tick) == 1

    assert run.states() == ["given up", "done"]
    assert run.starts() == processes.CRASHES_IN_A_ROW
    assert run.now == 1 + 2 + 4 + 8  # the backoffs
    assert "exited with status 3 after 0 s: given up after 5 crashes in a row" in run.last.workers[0].note
    assert run.last.workers[0].last_lines == ("started",)  # not those of the process before


def test_crashes_after_a_while_of_running_are_never_in_a_row(tmp_path: Path) -> None:
    script = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
print("started", flush=True)
while not (folder / "go").exists(): time.sleep(.01)
(folder / "go").unlink()
raise SystemExit(0 if (folder / "enough").exists() else 1)
"""
    run = Run(tmp_path, script)
    settled: set[int] = set()

    def each_tick(snapshot: Snapshot) -> None:
        [worker] = snapshot.workers
        if worker.state == "running" and worker.restarts not in settled:
            settled.add(worker.restarts)
            run.now += processes.SETTLED_SECONDS
            if worker.restarts == 2 * processes.CRASHES_IN_A_ROW:
                (tmp_path / "enough").touch()
            (tmp_path / "go").touch()

    assert run.until_it_ends(each_tick) == 0

    assert run.starts() == 2 * processes.CRASHES_IN_A_ROW + 1


def test_a_worker_without_a_database_is_started_again_as_often_as_it_takes(tmp_path: Path) -> None:
    script = f"""
import pathlib, sys
starts = pathlib.Path(sys.argv[1]) / "starts"
with starts.open("a") as file: file.write("x")
print("no answer", flush=True)
raise SystemExit({processes.OUTAGE} if len(starts.read_text()) < {2 * processes.CRASHES_IN_A_ROW} else 0)
"""
    run = Run(tmp_path, script)

    assert run.until_it_ends() == 0

    [worker] = run.last.workers
    assert (worker.state, worker.restarts) == ("done", 2 * processes.CRASHES_IN_A_ROW - 1)
    assert re.fullmatch(
        r"worker 0 \(cpu\) waits for the database, since \d\d:\d\d: started again every 10 s", worker.note
    )
    assert not worker.died
    assert worker.last_lines == ("no answer",)


def test_a_worker_that_waits_once_more_says_so_once_more(tmp_path: Path) -> None:
    """The line is new where the worker had what it waited for in between."""
    script = f"""
import pathlib, sys, time
starts = pathlib.Path(sys.argv[1]) / "starts"
with starts.open("a") as file: file.write("x")
raise SystemExit({processes.OUTAGE} if len(starts.read_text()) < 4 else 0)
"""
    slot, now = Slot(0, "cpu", 1), [0.0]
    command = [sys.executable, "-c", script, str(tmp_path)]
    worker = processes.WorkerProcess(slot, lambda _: command, tmp_path / "logs", lambda: now[0])
    notes = []
    for lasted in (1.0, 1.0, processes.RECOVERED_SECONDS):
        worker.note, now[0] = "as before", now[0] + processes.OUTAGE_SECONDS
        worker.poll()
        now[0] += lasted
        while worker.state == "running":
            worker.poll()
            time.sleep(0.01)
        notes.append(worker.note)
    worker.close()

    assert "waits for the database, since" in notes[0]
    assert notes[1] == "as before"
    assert "waits for the database, since" in notes[2]


def test_a_log_that_cannot_be_written_is_no_fault_of_the_worker(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with pytest.raises(StorageError, match="logs: cannot be written: File exists"):
        processes.WorkerProcess(Slot(0, "cpu", 1), lambda _: [], tmp_path / "logs", time.monotonic)


def test_a_worker_without_room_on_the_disk_is_started_again_as_often_as_it_takes(tmp_path: Path) -> None:
    script = f"""
import pathlib, sys
starts = pathlib.Path(sys.argv[1]) / "starts"
with starts.open("a") as file: file.write("x")
raise SystemExit({processes.DISK} if len(starts.read_text()) < {2 * processes.CRASHES_IN_A_ROW} else 0)
"""
    run = Run(tmp_path, script)

    assert run.until_it_ends() == 0

    [worker] = run.last.workers
    told = (
        r"worker 0 \(cpu\) waits for room on the disk, or the right to write there, since .*: started again every 10 s"
    )
    assert re.fullmatch(rf"{told}; \d+ kB( and \d+ inodes)? are left on the disk of {worker.log.parent}", worker.note)
    assert not worker.died, "it is no attempt at its trial"


TOLD = {
    "by SIGTERM, and released its trial": "raise SystemExit(128 + signal.SIGTERM)",
    "by SIGTERM, before it heeded signals": "os.kill(os.getpid(), signal.SIGTERM)",
    "by SIGINT, and released its trial": "raise SystemExit(128 + signal.SIGINT)",
    "by SIGINT, before it heeded signals": (
        "signal.signal(signal.SIGINT, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGINT)"
    ),
}


@pytest.mark.parametrize("end", TOLD.values(), ids=TOLD)
def test_a_worker_that_somebody_else_ends_is_told_and_started_again_as_often_as_it_takes(
    tmp_path: Path, end: str
) -> None:
    script = f"""
import os, pathlib, signal, sys
starts = pathlib.Path(sys.argv[1]) / "starts"
with starts.open("a") as file: file.write("x")
if len(starts.read_text()) <= {processes.CRASHES_IN_A_ROW}: {end}
"""
    run = Run(tmp_path, script)

    assert run.until_it_ends() == 0

    [worker] = run.last.workers
    assert (worker.state, worker.restarts) == ("done", processes.CRASHES_IN_A_ROW)
    assert worker.note.startswith(f"worker 0 (cpu) was told to end {end_name(end)}, which this run did not send")


def end_name(end: str) -> str:
    return "by SIGINT" if "SIGINT" in end else "by SIGTERM"


def test_a_worker_whose_log_was_removed_is_started_again_and_its_last_lines_are_shown(tmp_path: Path) -> None:
    script = """
import pathlib, shutil, sys
folder = pathlib.Path(sys.argv[1])
if (folder / "been-here").exists(): sys.exit(0)
(folder / "been-here").touch()
shutil.rmtree(folder / "logs")
print("last words", flush=True)
sys.exit(3)
"""
    run = Run(tmp_path, script)

    assert run.until_it_ends() == 0

    assert run.last.workers[0].last_lines == ("last words",)


def test_a_user_error_is_not_retried_and_stops_all_with_its_line(tmp_path: Path) -> None:
    run = Run(tmp_path, "print('started'); " + REFUSES, OBEDIENT)

    assert run.until_it_ends() == 2

    assert run.states() == ["refused", "stopped"]
    assert run.last.stopping == "bad.toml: lr: not a number"
    assert run.starts() == 1


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_signal_lets_every_worker_end_by_itself(tmp_path: Path, signum: signal.Signals, status: int) -> None:
    run = Run(tmp_path, OBEDIENT, OBEDIENT)

    assert run.until_it_ends(run.signals_once_ready(signum)) == status

    assert run.states() == ["stopped", "stopped"]
    assert sorted(path.name for path in tmp_path.glob("ended-*")) == ["ended-0", "ended-1"]
    assert f"{signum.name} reached foldrace (process {os.getpid()} on " in run.last.stopping
    assert "the same command continues the study" in run.last.stopping


def test_the_second_signal_kills_whoever_is_left_and_what_it_started(tmp_path: Path) -> None:
    with_child = "import subprocess, sys; subprocess.Popen(['sleep', '300']).pid;" + STUBBORN
    run = Run(tmp_path, with_child)
    group = 0

    def each_tick(snapshot: Snapshot) -> None:
        nonlocal group
        group = snapshot.workers[0].pid or group
        send(snapshot)

    send = run.signals_once_ready(signal.SIGTERM, signal.SIGINT)

    assert run.until_it_ends(each_tick) == 143

    assert "SIGINT came while the workers were stopping: worker 0 (cpu) killed" in run.last.stopping
    assert run.states() == ["stopped"]
    assert not run.last.workers[0].died, "it was the user who ended it"
    _wait_for(lambda: not _group_lives(group))


def test_a_worker_that_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    run = Run(tmp_path, STUBBORN)
    send = run.signals_once_ready(signal.SIGTERM)

    def each_tick(snapshot: Snapshot) -> None:
        send(snapshot)
        if snapshot.stopping:
            run.now += supervisor.GRACE_SECONDS

    assert run.until_it_ends(each_tick) == 143

    assert "not every worker stopped within 60 s: worker 0 (cpu) killed" in run.last.stopping


def test_a_signal_during_a_backoff_starts_nothing_more(tmp_path: Path) -> None:
    run = Run(tmp_path, "print('started'); raise SystemExit(1)")

    def each_tick(snapshot: Snapshot) -> None:
        if snapshot.workers[0].state == "waiting":
            os.kill(os.getpid(), signal.SIGTERM)

    assert run.until_it_ends(each_tick) == 143

    assert (run.states(), run.starts()) == (["stopped"], 1)


def test_what_a_crashed_worker_started_ends_with_it(tmp_path: Path) -> None:
    run = Run(tmp_path, "import subprocess; print(subprocess.Popen(['sleep', '300']).pid)")

    assert run.until_it_ends() == 0

    child = int((tmp_path / "logs/worker-0.log").read_text())
    _wait_for(lambda: not _lives(child))


def test_an_error_while_showing_progress_lets_the_workers_end_first(tmp_path: Path) -> None:
    run = Run(tmp_path, OBEDIENT)

    def each_tick(_snapshot: Snapshot) -> None:
        if (tmp_path / "ready-0").exists():
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run.until_it_ends(each_tick)

    assert (tmp_path / "ended-0").exists()


def test_a_command_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    broken = Supervisor(local_crew(lambda _slot: ["/no/such/python"], [Slot(0, "cpu", 1)], tmp_path))

    with pytest.raises(SupervisorError, match=r"^worker 0 \(cpu\) cannot be started: .*/no/such/python'$"):
        broken.run(lambda _snapshot: None)


@pytest.mark.parametrize("way", ["end_with_parent(parent)", "_watch_parent(parent)"])
def test_workers_end_with_a_supervisor_that_was_killed(tmp_path: Path, way: str) -> None:
    worker = f"""
import pathlib, signal, sys
from foldrace.search.workers.parent_death import _watch_parent, end_with_parent
folder, parent = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def end(*_):
    (folder / "ended").touch()
    raise SystemExit
signal.signal(signal.SIGTERM, end)
(folder / "ready").touch()
{way}
while True: signal.pause()
"""
    supervising = f"""
import os, pathlib, sys
from foldrace.search.workers.slots import Slot
from foldrace.search.workers.supervisor import Supervisor, local_crew
folder = pathlib.Path(sys.argv[1])
command = lambda slot: [sys.executable, "-c", {worker!r}, str(folder), str(os.getpid())]
Supervisor(local_crew(command, [Slot(0, "cpu", 1)], folder)).run(lambda snapshot: None)
"""
    parent = subprocess.Popen([sys.executable, "-c", supervising, str(tmp_path)])
    _wait_for((tmp_path / "ready").exists)

    parent.kill()
    parent.wait()

    _wait_for((tmp_path / "ended").exists)


def test_a_worker_whose_supervisor_was_gone_before_it_began_ends_at_once() -> None:
    code = f"{IMPORT}; end_with_parent(2**22 + 1); print('went on')"

    worker = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)

    assert (worker.returncode, worker.stdout) == (-signal.SIGTERM, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need the thread")
def test_on_linux_the_kernel_looks_after_a_worker_without_a_thread() -> None:
    code = f"import os, threading; {IMPORT}; end_with_parent(os.getppid())"

    worker = [sys.executable, "-c", f"{code}; print(threading.active_count())"]

    assert subprocess.run(worker, capture_output=True, text=True, check=True).stdout == "1\n"


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(MOST_TICKS):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("waited in vain")


def _lives(pid: int) -> bool:
    """Whether a process runs: one that ended and that nobody waited for does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _group_lives(group: int) -> bool:
    members = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
    return any(_lives(int(pid)) and _group_of(int(pid)) == group for pid in members)


def _group_of(pid: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.getpgid(pid)
    return None
