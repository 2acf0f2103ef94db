"""Workers under a real Slurm: requeued, killed, on a node that goes down, out of time; nothing lost, nothing twice."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foldrace.search.monitor.status import StudyStatus, WorkerStatus
from foldrace.search.monitor.status_reader import find_status
from foldrace.search.session import open_session
from foldrace.studies.loading import load
from tests.slurm.conftest import Slurm, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(2400)]

SETTINGS = (
    *(
        "--set",
        "search.storage=workspace",
        "--set",
        "search.checkpoint_minutes=0.05",
        "--set",
        "search.lease_seconds=30",
    ),
    *("--set", "slurm.gpus=0", "--set", "slurm.cpus=1", "--set", "folds.count=2", "--set", "final.folds=2"),
)


def foldrace(slurm: Slurm, workspace: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "foldrace", *arguments, "--workspace", str(workspace)]
    done = subprocess.run(command, env=slurm.environment, capture_output=True, text=True)
    return done.stdout + done.stderr


def submitted(slurm: Slurm, workspace: Path, *arguments: str) -> int:
    told = foldrace(slurm, workspace, "submit", *arguments, "--slurm", *SETTINGS)
    match = re.search(r"^submitted (\d+)_\[0-\d+\] on gpu$", told, re.MULTILINE)
    assert match is not None, told
    return int(match[1])


def status_of(workspace: Path) -> StudyStatus | None:
    with open_session(load("demo", ["search.storage=workspace"]), workspace) as session:
        return find_status(session.database, "demo")


def logs(workspace: Path) -> str:
    return "".join(path.read_text() for path in sorted((workspace / "demo/logs").glob("slurm-*.log")))


def test_four_workers_that_are_requeued_killed_and_out_of_time_lose_nothing(slurm: Slurm, workspace: Path) -> None:
    small = ("--trials", "4", "--set", "search.baseline={}", "--set", "training.epochs={low=2,high=4}")
    job = submitted(slurm, workspace, "demo", *small, "--set", "slurm.tasks=4", "--set", "slurm.time=4m")

    def explain() -> str:
        return slurm("squeue") + logs(workspace)[-5000:]

    def at_work() -> list[WorkerStatus]:
        status = status_of(workspace)
        return [] if status is None else [worker for worker in status.alive if worker.epoch is not None]

    wait_until(at_work, explain)
    assert all(re.fullmatch(rf"{job}_[0-3]", worker.job) and worker.host in ("n1", "n2") for worker in at_work())
    for task in slurm.running(job)[-2:]:
        slurm("scontrol", "requeue", task)
    wait_until(at_work, explain)
    os.kill(at_work()[0].pid, signal.SIGKILL)
    wait_until(at_work, explain)
    slurm("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
    slurm("scontrol", "update", "NodeName=n2", "State=RESUME")

    def is_done() -> bool:
        status = status_of(workspace)
        return status is not None and status.state == "done"

    wait_until(is_done, explain)
    status = status_of(workspace)
    assert status is not None
    ended = status.trials
    assert (sum(ended.values()), ended.get("FAIL", 0), status.orphans) == (4, 0, ())
    told = re.findall(r"trial (\d+) (?:complete|pruned)", logs(workspace))
    assert len(told) == len(set(told))
    assert "goes on in fold" in logs(workspace)
    wait_until(lambda: not slurm.running(job), explain)


def test_a_final_job_is_handed_in_by_the_worker_that_ends_last(slurm: Slurm, workspace: Path) -> None:
    final = workspace / "final.toml"
    study = load("demo", ["search.storage=workspace", "folds.count=2", "final.folds=2"])
    final.write_text(study.with_fixed({**study.search.baseline[0], "epochs": 1}).to_toml(), encoding="utf-8")
    job = submitted(slurm, workspace, str(final), "--final", "--set", "slurm.tasks=2", "--set", "slurm.time=20m")

    wait_until(lambda: not slurm("squeue", "-h", "-j", str(job)).strip(), lambda: logs(workspace))
    assert len(re.findall("^submit ", logs(workspace), re.MULTILINE)) == 1
    assert list((workspace / "demo/submissions").rglob("*.csv"))


def test_what_slurm_refuses_is_one_line_and_stop_lets_all_go(slurm: Slurm, workspace: Path) -> None:
    told = foldrace(slurm, workspace, "submit", "demo", "--slurm", "--set", "slurm.partition=nowhere", *SETTINGS)
    assert told.splitlines()[-1].endswith("Batch job submission failed: Invalid partition name specified")

    job = submitted(slurm, workspace, "demo", "--set", "slurm.tasks=12", "--set", "slurm.extra=['--begin=now+1hour']")
    told = foldrace(slurm, workspace, "status", "demo")
    assert f"demo: no worker has begun it yet; {job}_[0-11] waits on gpu (BeginTime)" in told
    foldrace(slurm, workspace, "stop", "demo")
    wait_until(lambda: not slurm("squeue", "-h", "-j", str(job)).strip(), lambda: slurm("squeue"))
