"""Ctrl-C ends a run within seconds, and the same command goes on where it stood."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import foldrace_in

RUN = ("run", "demo", "--trials", "1", "--workers", "2", "--set", "folds.count=2", "--set", "training.epochs=4")
NO_BASELINE = ("--set", "search.baseline={}")


def logs(folder: Path) -> str:
    """What the workers of the run have said."""
    return "".join(path.read_text(encoding="utf-8") for path in folder.glob("runs/demo/logs/worker-*.log"))


@dataclass(frozen=True)
class Interrupted:
    """A run at a terminal that got Ctrl-C in the middle of a fold; `screen`: all that it wrote there."""

    folder: Path
    status: int
    screen: str


def read_all(terminal: int) -> str:
    """What is written to a terminal until nobody has it open."""
    read = b""
    with suppress(OSError):  # so Linux says that
        while part := os.read(terminal, 65536):
            read += part
    os.close(terminal)
    return read.decode()


@pytest.fixture
def interrupted(tmp_path: Path) -> Interrupted:
    environment = {name: value for name, value in os.environ.items() if name != "FOLDRACE_STORAGE"}
    command = [sys.executable, "-m", "foldrace", *RUN, *NO_BASELINE]
    ours, its = pty.openpty()
    process = subprocess.Popen(command, cwd=tmp_path, env=environment | {"TERM": "xterm"}, stdout=its)
    os.close(its)
    screen = ThreadPoolExecutor(1).submit(read_all, ours)
    for _ in range(1200):
        if "trial 0, attempt 1" in logs(tmp_path):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    return Interrupted(tmp_path, process.wait(timeout=60), screen.result(timeout=60))


def test_an_interrupted_run_says_why_it_ended_and_goes_on_from_its_checkpoint(interrupted: Interrupted) -> None:
    folder = interrupted.folder
    assert interrupted.status == 128 + signal.SIGINT
    left = re.split(r"\x1b\[\d*[AJK]", interrupted.screen)[-1]  # what stood before was wiped
    assert "SIGINT reached foldrace" in left
    assert list(folder.glob("runs/demo/trial-00000/fold-0/attempt-1/checkpoint-*.safetensors"))

    told = foldrace_in(folder, *RUN, *NO_BASELINE)

    assert told.returncode == 0, told.stdout + told.stderr
    assert "trial 0, attempt 2" in logs(folder)
    state = json.loads(foldrace_in(folder, "status", "demo", "--json").stdout)
    assert state["trials"] == {"COMPLETE": 1}
