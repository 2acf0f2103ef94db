"""What comes next is said at a terminal, and nowhere else."""

import os
import pty
import sys
from pathlib import Path

import pytest

from foldrace.search.cli.next_step import say_next


def test_a_pipe_is_told_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    say_next("export", "demo")
    assert capfd.readouterr().out == ""


def test_a_terminal_is_told_the_command_with_its_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8", buffering=1) as terminal:  # noqa: PTH123, a descriptor
        monkeypatch.setattr(sys, "stdout", terminal)
        say_next("status --watch", "my study.toml", Path("/shared/runs"))
        said = os.read(ours, 1000).decode()
    os.close(ours)

    assert said.strip() == "next: foldrace status --watch 'my study.toml' --workspace /shared/runs"
