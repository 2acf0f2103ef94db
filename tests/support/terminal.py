"""Commands run at a terminal, as a person runs them: what stands on the screen in the end, and Ctrl-C in the middle."""

import os
import pty
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import begin_foldrace, wait_for_end

WIPED = re.compile(r"\x1b\[\d*[AJK]")  # what stood before one of these is gone
_STYLES = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]")


@dataclass(frozen=True)
class Shown:
    """A command that has ended; `screen`: what it left at the terminal."""

    status: int
    screen: str

    @property
    def next_steps(self) -> list[str]:
        """What it said that comes next."""
        return [line.removeprefix("next: ") for line in self.screen.splitlines() if line.startswith("next: ")]


def at_terminal(folder: Path, *arguments: str, interrupt_when: Callable[[], bool] | None = None) -> Shown:
    """What `foldrace ARGUMENTS` leaves on a screen of 200 columns; it gets Ctrl-C as soon as something holds."""
    ours, its = pty.openpty()
    command = begin_foldrace(folder, arguments, its, its, lambda: os.environ.update(TERM="xterm", COLUMNS="200"))
    os.close(its)
    with ThreadPoolExecutor(1) as reader:
        screen = reader.submit(_read_all, ours)
        if interrupt_when is not None:
            deadline = time.monotonic() + 120
            while not interrupt_when() and time.monotonic() < deadline:
                time.sleep(0.1)
            assert command.pid is not None
            os.kill(command.pid, signal.SIGINT)
        status = wait_for_end(command, 200)
        left = WIPED.split(screen.result(timeout=60))[-1]
    return Shown(status, _STYLES.sub("", left).replace("\r\n", "\n"))


def _read_all(terminal: int) -> str:
    """What is written to a terminal until nobody has it open."""
    read = b""
    with suppress(OSError):  # so Linux says that
        while part := os.read(terminal, 65536):
            read += part
    os.close(terminal)
    return read.decode()
