"""Commands run as a user runs them, and the settings that make the demo short."""

import gc
import logging
import multiprocessing
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.context import ForkProcess
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar

from foldrace.search.cli.main import main
from foldrace.search.trials.heartbeat import USUAL
from foldrace.search.workers import worker

IMPORTED_BY_COMMANDS = (
    "foldrace.search.launch.new_study",
    "foldrace.search.launch.preflight",
    "foldrace.search.workers.entrypoint",
    "foldrace.search.ensemble.predict",
    "foldrace.search.reports.search_report",
    "foldrace.search.dashboard.server",
    "transformers.models.electra.modeling_electra",
)
for module in IMPORTED_BY_COMMANDS:
    import_module(module)
FORK = multiprocessing.get_context("fork")

SMALL = (
    *("--set", "folds.count=2"),
    *("--set", "training.epochs={low=1,high=2}", "--set", "training.evaluations=2"),
    *("--set", "search.baseline.epochs=2"),
)
SMALL_RUN = (
    *("--trials", "1", "--set", "folds.count=2", "--set", "training.epochs=1", "--set", "search.baseline={}"),
    *("--set", "training.evaluations=2"),
)
Command = Callable[..., subprocess.CompletedProcess[str]]
T = TypeVar("T")


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
    with TemporaryFile() as output, TemporaryFile() as errors:
        command = begin_foldrace(folder, arguments, output.fileno(), errors.fileno())
        status = wait_for_end(command, timeout)
        told = [file.read().decode() for file in (output, errors) if not file.seek(0)]
    return subprocess.CompletedProcess(["foldrace", *arguments], status, *told)


def begin_foldrace(
    folder: Path, arguments: Sequence[str], output: int, errors: int, prepare: Callable[[], None] = lambda: None
) -> ForkProcess:
    """Begin `foldrace ARGUMENTS` in a folder, as a process that writes to two files; `prepare` is its first act.

    It is forked from this process, which has imported torch and transformers: that alone takes most commands longer
    than all else. The workers that it starts are begun from nothing.
    """
    command = FORK.Process(target=_become_foldrace, args=(folder, arguments, output, errors, prepare))
    command.start()
    return command


def wait_for_end(command: ForkProcess, timeout: float) -> int:
    """The status of a command that ends; it is killed when it takes longer."""
    command.join(timeout)
    if command.exitcode is None:
        command.kill()
        command.join()
    assert command.exitcode is not None
    return command.exitcode


def wait(look: Callable[[], T | None], explain: Callable[[], str]) -> T:
    """What a look finds sooner or later."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(explain())


def quicken_heart() -> None:
    """Have a worker's heart beat once a second, so that a lease of four seconds will do."""
    object.__setattr__(USUAL, "seconds", 1.0)
    worker.IDLE_SECONDS = 0.3


def _become_foldrace(
    folder: Path, arguments: Sequence[str], output: int, errors: int, prepare: Callable[[], None]
) -> None:
    """Be what `python -m foldrace ARGUMENTS` is: nothing of the test's process is left but what it has imported."""
    gc.freeze()  # what the test's process has open is not this one's to close
    os.dup2(output, 1)
    os.dup2(errors, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", encoding="utf-8"), os.fdopen(2, "w", encoding="utf-8", buffering=1)
    os.chdir(folder)
    os.environ.pop("FOLDRACE_STORAGE", None)
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
    logging.getLogger().handlers.clear()
    sys.argv = ["foldrace", *arguments]
    prepare()
    main()
