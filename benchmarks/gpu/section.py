"""One section in a process of its own: a crash, a hang or a broken CUDA context ends that section alone.

    python -m benchmarks.gpu.section NAME FOLDER DEVICE [--small]

What it finds goes into a file of the folder.
"""

import sys
import traceback
from importlib import import_module
from pathlib import Path

from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting

OURS = ("benchmarks", "foldrace", "tests")
LAST_LINES = 12  # of a traceback


def main() -> int:
    name, folder, device = sys.argv[1:4]
    report = Report(findings_file(Path(folder), name))
    try:
        section = import_module(f"benchmarks.gpu.sections.{name}")  # here: a missing package is a finding
        section.run(Setting(Path(folder), device, "--small" in sys.argv), report)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in OURS:
            return _failed(report, error)
        report.unchecked("the rest of this section", f"the package {error.name} is missing")
    except Exception as error:  # whatever it is: the page says so, and the other sections go on
        return _failed(report, error)
    return 0


def findings_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.jsonl"


def _failed(report: Report, error: Exception) -> int:
    first = (str(error).splitlines() or [""])[0]
    last = "".join(traceback.format_exception(error)).splitlines()[-LAST_LINES:]
    report.fail(f"{type(error).__name__}: {first}")
    report.code("\n".join(last))
    return 1


if __name__ == "__main__":
    sys.exit(main())
