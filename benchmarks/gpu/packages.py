"""The packages that the project asks for, beside those of this machine's Python."""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*])?(?:>=([0-9.]+))?")


def list_packages(pyproject: Path) -> list[str]:
    """A line for Python, and one for each package: its version, or that it is missing or too old."""
    requirements = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [f"Python {sys.version.split()[0]} ({sys.executable})", *map(_line, requirements)]


def _line(requirement: str) -> str:
    match = _REQUIREMENT.match(requirement)
    if match is None:
        return f"{requirement}: not understood"
    name, least = match.groups()
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name}: missing"
    if least is not None and _numbers(version) < _numbers(least):
        return f"{name} {version}: older than the {least} that the project asks for"
    return f"{name} {version}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])
