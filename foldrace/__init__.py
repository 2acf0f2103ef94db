"""Hyperparameter search for K-fold fine-tuning.

Each command of `foldrace` is a function of this package: `foldrace.run("demo", workers=2)`. docs/guide.md has a tour.
Nothing but this file is imported until a function is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from foldrace.errors import FoldraceError

if TYPE_CHECKING:
    from foldrace.search.api.cluster import batch_script, submit, worker
    from foldrace.search.api.control import clean, pause, resume, stop
    from foldrace.search.api.database import (
        backup_database,
        database_status,
        database_url,
        start_database,
        stop_database,
    )
    from foldrace.search.api.inspect import (
        best,
        dashboard,
        export,
        export_prior,
        list_runs,
        predict,
        predict_rows,
        report,
        status,
        trial_table,
        trials,
        watch,
    )
    from foldrace.search.api.naming import load
    from foldrace.search.api.train import check, final, init, rescore, run

__version__ = "0.1.0"
__all__ = [
    "FoldraceError",
    "backup_database",
    "batch_script",
    "best",
    "check",
    "clean",
    "dashboard",
    "database_status",
    "database_url",
    "export",
    "export_prior",
    "final",
    "init",
    "list_runs",
    "load",
    "pause",
    "predict",
    "predict_rows",
    "report",
    "rescore",
    "resume",
    "run",
    "start_database",
    "status",
    "stop",
    "stop_database",
    "submit",
    "trial_table",
    "trials",
    "watch",
    "worker",
]

_MODULES = {
    "cluster": ("batch_script", "submit", "worker"),
    "control": ("clean", "pause", "resume", "stop"),
    "database": ("backup_database", "database_status", "database_url", "start_database", "stop_database"),
    "inspect": (
        *("best", "dashboard", "export", "export_prior", "list_runs", "predict", "predict_rows"),
        *("report", "status", "trial_table", "trials", "watch"),
    ),
    "naming": ("load",),
    "train": ("check", "final", "init", "rescore", "run"),
}
_HOMES = {name: f"foldrace.search.api.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
