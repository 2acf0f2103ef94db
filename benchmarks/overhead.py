"""What the protocol takes of a worker's seconds in an undisturbed search of the demo, by the workers' own logs."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_TOLD = re.compile(
    r"the protocol took ([\d.]+) s of ([\d.]+) s .*: claims ([\d.]+), belief [\d.]+, reports ([\d.]+), judging ([\d.]+)"
)


@dataclass(frozen=True)
class Overhead:
    """Seconds of all workers together.

    Attributes:
        judging: is the pruner's, and in `protocol` too.
        percent: of `lived`, without the judging.
    """

    workers: int
    lived: float
    protocol: float
    claims: float
    reports: float
    judging: float
    percent: float


def overhead(url: str, folder: Path, workers: int, trials: int) -> Overhead:
    """Search the demo in a folder of its own, with its database at `url`."""
    command = [sys.executable, "-m", "foldrace", "run", "demo", "--workers", str(workers), "--trials", str(trials)]
    command += ["--set", f"search.storage={url}", "--workspace", str(folder), "--devices", "cpu"]
    subprocess.run(command, check=True, capture_output=True)
    logs = "".join(path.read_text(encoding="utf-8") for path in folder.glob("demo/logs/worker-*.log"))
    found = [[float(number) for number in match.groups()] for match in _TOLD.finditer(logs)]
    protocol, lived, claims, reports, judging = (sum(column) for column in zip(*found, strict=True))
    percent = 100 * (protocol - judging) / lived
    return Overhead(len(found), lived, protocol, claims, reports, judging, percent)
