"""Commands run as a user runs them, and the settings that make the demo short."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SMALL = (
    *("--set", "folds.count=2"),
    *("--set", "training.epochs={low=1,high=2}"),
    *("--set", "search.baseline.epochs=2"),
)
SMALL_RUN = ("--trials", "1", "--set", "folds.count=2", "--set", "training.epochs=1", "--set", "search.baseline={}")
# For `python -c`: the command, its heart beating once a second, so that a lease of four seconds will do.
QUICK_HEART = (
    "from foldrace.search.trials.heartbeat import USUAL; object.__setattr__(USUAL, 'seconds', 1.0); "
    "from foldrace.search.workers import worker; worker.IDLE_SECONDS = 0.3; "
    "from foldrace.search.cli.main import main; main()"
)
Command = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Finished:
    """A finished demo: the folder it ran in, and what each command printed."""

    folder: Path
    run: str
    export: str
    final: str

    @property
    def workspace(self) -> Path:
        return self.folder / "runs" / "demo"


def foldrace_in(folder: Path, *arguments: str, timeout: float = 200) -> subprocess.CompletedProcess[str]:
    """What `foldrace ARGUMENTS` prints, run in a folder."""
    command = [sys.executable, "-m", "foldrace", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "FOLDRACE_STORAGE"}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )
