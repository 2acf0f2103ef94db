"""Ctrl-C ends a run within seconds, and the same command goes on where it stood."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import foldrace_in

RUN = ("run", "demo", "--trials", "1", "--workers", "2", "--set", "folds.count=2", "--set", "training.epochs=4")
NO_BASELINE = ("--set", "search.baseline={}")


def logs(folder: Path) -> str:
    """What the workers of the run have said."""
    return "".join(path.read_text(encoding="utf-8") for path in folder.glob("runs/demo/logs/worker-*.log"))


@pytest.fixture
def interrupted(tmp_path: Path) -> tuple[Path, int]:
    """A run that got Ctrl-C in the middle of a fold: its folder and its exit status."""
    environment = {name: value for name, value in os.environ.items() if name != "FOLDRACE_STORAGE"}
    command = [sys.executable, "-m", "search.cli", *RUN, *NO_BASELINE]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    for _ in range(1200):
        if "trial 0, attempt 1" in logs(tmp_path):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    return tmp_path, process.wait(timeout=60)


def test_an_interrupted_run_leaves_a_checkpoint_and_goes_on_from_it(interrupted: tuple[Path, int]) -> None:
    folder, status = interrupted
    assert status == 128 + signal.SIGINT
    assert list(folder.glob("runs/demo/trial-00000/fold-0/attempt-1/checkpoint-*.safetensors"))

    told = foldrace_in(folder, *RUN, *NO_BASELINE)

    assert told.returncode == 0, told.stdout + told.stderr
    assert "trial 0, attempt 2" in logs(folder)
    state = json.loads(foldrace_in(folder, "status", "demo", "--json").stdout)
    assert state["trials"] == {"COMPLETE": 1}
