"""Commands run as a user runs them, and the settings that make the demo short."""

import gc
import logging
import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile

from foldrace.search.cli.main import main

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
    """What `foldrace ARGUMENTS` prints, run in a folder, in a process of its own.

    The process is forked from this one, which has imported torch and transformers: that alone takes most commands
    longer than all else. The workers that a command starts are begun from nothing.
    """
    with TemporaryFile() as output, TemporaryFile() as errors:
        command = FORK.Process(target=_become_foldrace, args=(folder, arguments, output.fileno(), errors.fileno()))
        command.start()
        command.join(timeout)
        if command.exitcode is None:
            command.kill()
            command.join()
        told = [file.read().decode() for file in (output, errors) if not file.seek(0)]
        assert command.exitcode is not None
    return subprocess.CompletedProcess(["foldrace", *arguments], command.exitcode, *told)


def _become_foldrace(folder: Path, arguments: Sequence[str], output: int, errors: int) -> None:
    """Be what `python -m foldrace ARGUMENTS` is: nothing of a test's process is left but what it has imported."""
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
    main()
