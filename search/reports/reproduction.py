"""The section of a report that says how to reproduce it."""

import platform
from collections.abc import Sequence
from importlib.metadata import version

from foldrace.search.reports.html import Html, code, details, paragraph, section, table
from foldrace.studies.identity import Identity

PACKAGES = ("foldrace", "torch", "transformers", "optuna", "numpy", "scikit-learn")


def reproduction(toml: str, identity: Identity, commands: Sequence[str]) -> Html:
    """The section with the study file, the commands, the versions, and the settings that identify the study."""
    versions = [(name, version(name)) for name in PACKAGES] + [("Python", platform.python_version())]
    return section(
        "How to reproduce it",
        paragraph("Save this as study.toml; paths in it are those of the machine that wrote it."),
        code(toml),
        code("\n".join(commands)),
        table(["package", "version"], versions),
        details(
            "What makes it the same study (data files by the SHA-256 of their content)",
            table(["setting", "value"], sorted(identity.values.items())),
        ),
    )
