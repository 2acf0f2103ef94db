"""Real workers of the demo, killed, paused and stopped: every trial is finished, once, from where it stood.

A worker's heart beats once a second here, so that it soon hears what it is asked.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa

from foldrace.search.ensemble.job import queue_final_job
from foldrace.search.ensemble.result import make_ensemble
from foldrace.search.monitor.status import StudyStatus
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.session import open_session
from foldrace.storage.database import Database
from foldrace.studies.loading import load
from foldrace.trainer.results import ResultError
from foldrace.trainer.training_data import open_training_data
from tests.support.commands import SMALL_RUN, Finished, begin_foldrace, foldrace_in, quicken_heart, wait, wait_for_end
from tests.support.killing import killed_at

STUDY = (
    *("--trials", "3", "--set", "folds.count=2", "--set", "search.baseline={}", "--set", "training.evaluations=2"),
    *("--set", "training.epochs=4", "--set", "search.pruner=none", "--set", "search.checkpoint_minutes=0.005"),
)
CANARY = "c4n4ry-9f3e"


class WorkerProcess:
    """A `foldrace worker` of a study of three trials, and its log."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "worker.log"
        command = ["worker", "demo", "--device", "cpu", *STUDY]
        with self._log.open("w") as log:
            self.process = begin_foldrace(folder, command, log.fileno(), log.fileno(), quicken_heart)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def wait_for(self, pattern: str) -> str:
        """The first group of what the log says sooner or later."""
        return str(wait(lambda: re.search(pattern, self.log), lambda: self.log)[1])

    def exit_status(self) -> int:
        return wait_for_end(self.process, 120)


def checkpoints(folder: Path, number: str) -> list[Path]:
    return list(folder.glob(f"runs/demo/trial-{int(number):05}/fold-*/attempt-*/checkpoint-*"))


def summary(url: str) -> StudyStatus:
    database = Database.open(url, create=False)
    found = read_status(database, "demo")
    database.close()
    return found


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker that ends with the test."""
    begun = WorkerProcess(tmp_path)
    yield begun
    begun.process.kill()
    begun.process.join()


def test_pause_lets_a_trial_end_or_releases_it_resume_goes_on_and_stop_leaves_a_checkpoint(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/runs/demo/study.db"

    def ask(*control: str) -> None:
        told = foldrace_in(tmp_path, *control, "demo")
        assert told.returncode == 0, told.stderr

    worker.wait_for("trial (0), attempt 1")
    ask("pause")
    worker.wait_for("trial (0) complete")
    looks_twice(tmp_path)
    assert "trial 1" not in worker.log
    ask("resume")
    worker.wait_for("trial (1), attempt 1")
    ask("pause", "--now")
    worker.wait_for("trial (1) is saved")
    looks_twice(tmp_path)
    assert checkpoints(tmp_path, "1")
    ask("resume")
    worker.wait_for("trial (1), attempt 2")
    ask("stop")

    assert worker.exit_status() == 0
    assert checkpoints(tmp_path, "1")
    assert summary(url).control == "stopping"
    assert [(orphan.number, orphan.why) for orphan in summary(url).orphans] == [(1, "released")]


def looks_twice(folder: Path) -> None:
    """Wait until the only worker there is has asked for a trial two times more."""
    engine = sa.create_engine(f"sqlite:///{folder}/runs/demo/study.db")

    def looked() -> int:
        with engine.connect() as connection:
            return int(connection.execute(sa.text("SELECT counter FROM foldrace_workers")).scalar_one())

    before = looked()
    wait(lambda: looked() >= before + 2, lambda: "the worker does not look for a trial any more")
    engine.dispose()


def test_a_second_signal_ends_a_worker_at_once() -> None:
    program = [
        "import os, signal, foldrace.search.workers.signals as session",
        "session.SAME_REQUEST_SECONDS = 0.0",
        "signals = session.StopSignals()",
        "with session.handle_signals(signals.receive):",
        "    os.kill(os.getpid(), signal.SIGTERM)",
        "    print('requested', signals.requested, flush=True)",
        "    os.kill(os.getpid(), signal.SIGTERM)",
        "    print('still there', flush=True)",
    ]
    told = subprocess.run([sys.executable, "-c", "\n".join(program)], capture_output=True, text=True, check=False)

    assert (told.returncode, told.stdout) == (128 + signal.SIGTERM, "requested True\n")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_final_job_whose_workers_are_killed_hands_in_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    command = ["final", str(finished.workspace / "final.toml"), "--workers", "2", "--set", "final.folds=3"]
    command += ["--workspace", "runs"]
    command += ["--set", "search.checkpoint_minutes=0.005", "--set", f"search.storage=sqlite:///{tmp_path}/study.db"]
    done = "runs/demo/final-1/seed-*/fold-*/result.safetensors"
    with (tmp_path / "final.log").open("w") as log:
        run = begin_foldrace(tmp_path, command, log.fileno(), log.fileno())
    try:
        first = wait(lambda: sorted(tmp_path.glob(done)), lambda: "no fold was finished")
        written = [path.stat().st_mtime_ns for path in first]
        for process in psutil.Process(run.pid).children():
            process.kill()
        assert wait_for_end(run, 200) == 0
    finally:
        run.kill()
        run.join()

    assert [path.stat().st_mtime_ns for path in first] == written  # a finished fold is not run again
    for file in ("final-1/test_probabilities.csv", "final-1/oof.csv", "submissions/3fold_tiny1/3fold_tiny1.csv"):
        assert digest(tmp_path / "runs/demo" / file) == digest(finished.workspace / file)


def test_an_ensemble_of_fewer_folds_than_asked_is_refused(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    shutil.rmtree(next((tmp_path / "runs/demo/final-1").glob("seed-*/fold-1")))
    storage = f"search.storage=sqlite:///{tmp_path}/runs/demo/study.db"
    study = load(tmp_path / "runs/demo/final.toml", ["final.folds=3", storage])

    with open_session(study, tmp_path / "runs") as session:
        job = queue_final_job(study, session.database, session.workspace)
        with pytest.raises(ResultError, match="fold-1"):
            make_ensemble(job, open_training_data(job.study, job.workspace))


def test_an_ensemble_killed_at_any_write_hands_in_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    written = ("final-1/oof.csv", "final-1/test_probabilities.csv", "submissions/3fold_tiny1/3fold_tiny1.csv")
    for file in written:
        (tmp_path / "runs/demo" / file).unlink()
    (tmp_path / "runs/demo/submissions/3fold_tiny1").rmdir()
    storage = f"search.storage=sqlite:///{tmp_path}/runs/demo/study.db"
    study = load(tmp_path / "runs/demo/final.toml", ["final.folds=3", storage])
    step = 0
    with open_session(study, tmp_path / "runs") as session:
        job = queue_final_job(study, session.database, session.workspace)
        data = open_training_data(job.study, job.workspace)
        while killed_at(step, lambda: make_ensemble(job, data)):
            step += 7

    assert step > 30
    for file in written:
        assert digest(tmp_path / "runs/demo" / file) == digest(finished.workspace / file)


def test_two_exporters_at_once_leave_one_whole_file(finished: Finished, tmp_path: Path) -> None:
    target = tmp_path / "final.toml"
    command = [sys.executable, "-m", "foldrace", "export", "demo", "--output", str(target)]
    exporters = [subprocess.Popen(command, cwd=finished.folder, stdout=subprocess.DEVNULL) for _ in range(2)]

    assert [exporter.wait(timeout=100) for exporter in exporters] == [0, 0]
    assert load(target).training == load(finished.workspace / "final.toml").training
    assert list(tmp_path.iterdir()) == [target]


def test_a_password_is_in_no_command_line_file_or_answer(postgres_url: str, tmp_path: Path) -> None:
    url = sa.make_url(postgres_url).set(password=CANARY).render_as_string(hide_password=False)
    seen = tmp_path / "seen.log"

    def begin(url: str, *command: str) -> ForkProcess:
        with seen.open("a") as log:
            return begin_foldrace(
                tmp_path, command, log.fileno(), log.fileno(), lambda: os.environ.update(FOLDRACE_STORAGE=url)
            )

    run = begin(url, "run", "demo", "--workers", "1", *SMALL_RUN, "--debug")
    wait(lambda: list(tmp_path.glob("runs/demo/trial-*")), seen.read_text)
    lines = [" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
    assert wait_for_end(run, 200) == 0, seen.read_text()
    for told in (["status", "demo"], ["status", "demo", "--json"], ["export", "demo"], ["report", "demo"]):
        assert wait_for_end(begin(url, *told), 100) == 0, seen.read_text()
    assert wait_for_end(begin(url.replace("?host=", "?host=/nowhere"), "status", "demo", "--debug"), 100)

    assert any("foldrace worker" in line for line in lines)
    assert "Traceback" in seen.read_text()
    assert not [line for line in lines if CANARY in line]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]
