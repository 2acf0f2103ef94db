"""What a report says of how to reproduce it."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from foldrace.search.reports.page import Table
from foldrace.studies.identity import Identity

PACKAGES = ("foldrace", "torch", "transformers", "optuna", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Reproduction:
    """The study file, the commands, the versions, and the settings that identify the study."""

    toml: str
    commands: Sequence[str]
    versions: Table
    identity: Table

    @classmethod
    def of(cls, toml: str, identity: Identity, commands: Sequence[str]) -> "Reproduction":
        """That of a study on this machine."""
        versions = [(name, version(name)) for name in PACKAGES] + [("Python", platform.python_version())]
        settings = Table(["setting", "value"], sorted(identity.values.items()))
        return cls(toml, commands, Table(["package", "version"], versions), settings)
