"""Commands run as a user runs them, and one small demo that is searched, exported and finished once for all tests."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

SMALL = (
    *("--set", "folds.count=2"),
    *("--set", "training.epochs={low=1,high=2}"),
    *("--set", "search.baseline.epochs=2"),
)
SMALL_RUN = ("--trials", "1", "--set", "folds.count=2", "--set", "training.epochs=1", "--set", "search.baseline={}")
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
    command = [sys.executable, "-m", "foldrace", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "FOLDRACE_STORAGE"}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )


@pytest.fixture
def foldrace(tmp_path: Path) -> Command:
    """Runs `foldrace ARGUMENTS` in an empty folder."""
    return lambda *arguments: foldrace_in(tmp_path, *arguments)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The demo, searched by two workers, exported, and trained as three folds."""
    folder = tmp_path_factory.mktemp("demo")
    told = [
        foldrace_in(folder, "run", "demo", "--trials", "3", "--workers", "2", *SMALL),
        foldrace_in(folder, "export", "demo"),
        foldrace_in(folder, "final", "runs/demo/final.toml", "--workers", "2", "--set", "final.folds=3"),
    ]
    for command in told:
        assert command.returncode == 0, command.stdout + command.stderr
    return Finished(folder, *(command.stdout for command in told))
