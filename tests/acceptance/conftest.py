"""Commands to run, and one small demo that is searched, exported and finished once for all tests."""

from pathlib import Path

import pytest

from tests.support.commands import SMALL, Command, Finished, foldrace_in


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
