"""Sections one after the other, each within its own time and all within that of the whole."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.gpu.report import Finding, read_findings
from benchmarks.gpu.section import findings_file

ROOT = Path(__file__).resolve().parents[2]
SMALL_SECONDS = 3.0  # times a section's: a CPU may be shared
LEAST_SECONDS = 20.0  # with less, a section is not begun: a process takes half of that to import torch
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Section:
    """`name` is that of its module; `seconds`: what it may take at most."""

    name: str
    title: str
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """How a section went; `reason` is empty when it came to its end."""

    section: Section
    reason: str
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def state(self) -> Literal["passed", "failed", "not checked"]:
        kinds = {finding.kind for finding in self.findings}
        if self.reason or "fails" in kinds:
            return "failed"
        return "not checked" if kinds <= {"unchecked"} else "passed"


def run_sections(
    sections: tuple[Section, ...], folder: Path, device: str, small: bool, deadline: float
) -> Iterator[Outcome]:
    """An outcome for each section, in their order; `deadline` is on the monotonic clock."""
    for section in sections:
        seconds = min(section.seconds * (SMALL_SECONDS if small else 1), deadline - time.monotonic())
        print(f"\n## {section.title} ({seconds:.0f} s at most)", flush=True)
        started = time.monotonic()
        if seconds < LEAST_SECONDS:
            reason = f"not begun: {max(seconds, 0):.0f} s of the whole were left"
        else:
            reason = _run(section.name, folder, device, small, seconds)
        findings = read_findings(findings_file(folder, section.name))
        outcome = Outcome(section, reason, time.monotonic() - started, findings)
        print(f"{section.title}: {outcome.state} after {outcome.seconds:.0f} s {reason}", flush=True)
        yield outcome


def _environment(device: str) -> dict[str, str]:
    """A section's, and what it starts: they find our code, and on a CPU each takes one core."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}
    return {**os.environ, **_OFFLINE, **threads, "PYTHONPATH": os.pathsep.join(paths)}


def _run(name: str, folder: Path, device: str, small: bool, seconds: float) -> str:
    """Why the section did not come to its end; empty when it did."""
    command = [sys.executable, "-m", "benchmarks.gpu.section", name, str(folder), device, *["--small"] * small]
    process = subprocess.Popen(command, cwd=ROOT, env=_environment(device), start_new_session=True)
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        with suppress(ProcessLookupError):  # and whatever it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if status is None:
        return f"killed after its {seconds:.0f} s"
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return "" if status == 0 else f"ended with status {status}"
