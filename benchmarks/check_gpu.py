"""Everything that this project does on a CUDA device, done once on this machine's, within eight minutes.

    python -m benchmarks.check_gpu [--output FILE] [--sections NAME,NAME] [--device cuda|cpu] [--small]

It needs no network and no installation: it runs under whatever Python has torch and transformers, builds its own model
with random weights, and says what a missing package keeps it from checking. Without a CUDA device it runs in a small
form on the CPU, which shows no more than that the check itself works. Status 0: nothing failed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu.packages import list_packages
from benchmarks.gpu.page import render
from benchmarks.gpu.runner import ROOT, Outcome, Section, run_sections
from foldrace.search.workers.slots import count_cuda_devices

SECONDS = 470.0  # of the whole, at most
SECTIONS = (
    Section("machine", "The machine", 60),
    Section("smoke", "The tests that need a CUDA device", 120),
    Section("fold", "A fold in bf16 and in fp32", 100),
    Section("resume", "A fold killed and resumed", 90),
    Section("memory", "Out of memory on purpose", 80),
    Section("sharing", "Two workers on one device", 120),
    Section("comparison", "A fold beside transformers.Trainer", 150),
    Section("steps", "Where a step's time goes", 110),
)


def main() -> int:
    arguments = _arguments()
    device = arguments.device or ("cuda" if count_cuda_devices() else "cpu")
    small = arguments.small or device == "cpu"
    packages = list_packages(ROOT / "pyproject.toml")
    print("\n".join(packages), flush=True)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="check-gpu-") as folder:
        deadline = time.monotonic() + SECONDS
        for outcome in run_sections(arguments.sections, Path(folder), device, small, deadline):
            outcomes.append(outcome)
            page = render(" ".join(["check_gpu", *sys.argv[1:]]), device, packages, outcomes)
            if arguments.output is not None:
                arguments.output.write_text(page, encoding="utf-8")  # after each section: all may end early
    for outcome in outcomes:
        print(f"{outcome.section.title:40}{outcome.state:14}{outcome.seconds:6.0f} s  {outcome.reason}")
    return int(any(outcome.state == "failed" for outcome in outcomes))


def _sections(names: str) -> tuple[Section, ...]:
    known = {section.name: section for section in SECTIONS}
    try:
        return tuple(known[name] for name in names.split(","))
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"no section {error}") from None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="the page of figures, written anew after each section")
    names = ", ".join(section.name for section in SECTIONS)
    parser.add_argument("--sections", type=_sections, default=SECTIONS, help=f"some of {names}; with commas")
    parser.add_argument("--device", choices=["cuda", "cpu"], help="by default the CUDA device where there is one")
    parser.add_argument("--small", action="store_true", help="a small model and few steps, as on the CPU")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
