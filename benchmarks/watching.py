"""How long a person waits to see a study of 1,000 trials: in Python, by commands, and in a real browser.

    python -m benchmarks.watching [--trials 1000] [--rounds 7] [--only commands page] [--json]

`import foldrace`, `foldrace status` and `foldrace trials` are timed in turns with `python -c pass`. A page is timed
from the moment it is opened, by a browser that was never there, until the study's first points are drawn, or its name
stands in the list of studies: `first` right after the server printed its link, `next` by another such browser.
PostgreSQL is a server of our own. The last line is one JSON object with `--json`.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.databases import KINDS, databases
from benchmarks.watched import make_watched
from foldrace.search.assessment.stored import store_assessment
from foldrace.search.recording.recorder import draw_study
from foldrace.search.session import Session
from foldrace.search.study_store import public_toml
from foldrace.storage.database import Database
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workspace import Workspace

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
NAME = "watched"
DRAWN = "#plot-history .points path"  # the first of the study's points
LISTED = f"text={NAME}"  # the study's name in the list of studies
FOLDRACE = [sys.executable, "-m", "foldrace"]

Times = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--json", action="store_true", help="the result as the last line")
    arguments = parser.parse_args()
    found: dict[str, float | Times] = {"load_before": os.getloadavg()[0]}
    with databases() as made, tempfile.TemporaryDirectory(prefix="foldrace-bench-") as folder:
        for kind in KINDS:
            url = made.fresh(kind)
            _make(url, Path(folder), arguments.trials)
            os.environ["FOLDRACE_STORAGE"] = url
            for name in arguments.only:
                times = MEASUREMENTS[name](Path(folder), arguments.rounds)
                _show(kind, times)
                found[f"{kind} {name}"] = times
    found["load_after"] = os.getloadavg()[0]
    print(f"load before and after: {found['load_before']:.1f}, {found['load_after']:.1f}")
    if arguments.json:
        print(json.dumps(found))


def commands(folder: Path, rounds: int) -> Times:
    """What `import foldrace`, `foldrace status` and `foldrace trials` take more than `python -c pass`, in turns."""
    options = [NAME, "--workspace", str(folder)]
    each = {"import": [sys.executable, "-c", "import foldrace"]}
    each |= {name: [*FOLDRACE, name, *options] for name in ("status", "trials")}
    found: Times = {f"{name}{kind}": [] for name in each for kind in ("", ", CPU")}
    for number in range(rounds + 1):
        bare = _seconds([sys.executable, "-c", "pass"])
        for name, command in each.items():
            more = [seconds - least for seconds, least in zip(_seconds(command), bare, strict=True)]
            if number:  # the first one reads all files
                found[name].append(more[0])
                found[f"{name}, CPU"].append(more[1])
    return found


def _seconds(command: list[str]) -> tuple[float, float]:
    """The seconds that a command takes: of the clock, and of the processors, which a busy machine changes less."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    elapsed, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def page(folder: Path, rounds: int) -> Times:
    """The study's page, which the link opens: of a new server, and once more; and the list of studies."""
    found: Times = {"first page": [], "next page": [], "list of studies": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for _ in range(rounds):
            with served(NAME, folder) as link:
                found["first page"].append(_visit(browser, link, link, DRAWN))
                found["next page"].append(_visit(browser, link, link, DRAWN))
                found["list of studies"].append(_visit(browser, link, f"{link.partition('/?')[0]}/dashboard", LISTED))
        browser.close()
    return found


def _visit(browser: Browser, link: str, address: str, shown: str) -> float:
    """Seconds until something is shown at an address, to a browser that was let in and has nothing in its cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.request.get(link, max_redirects=0)  # for the cookie
    visited = context.new_page()
    begun = time.perf_counter()
    visited.goto(address, wait_until="commit")
    visited.locator(shown).first.wait_for(timeout=120_000)
    seconds = time.perf_counter() - begun
    context.close()
    return seconds


@contextmanager
def served(name: str, folder: Path) -> Iterator[str]:
    """The link that `foldrace dashboard` prints for a study in a workspace."""
    command = [*FOLDRACE, "dashboard", name, "--port", "0", "--workspace", str(folder)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as served:
        try:
            assert served.stdout is not None
            yield served.stdout.readline().split()[1]
        finally:
            served.terminate()


def _make(url: str, folder: Path, trials: int) -> None:
    workspace = Workspace(folder, NAME)
    with closing(Database.open(url)) as database:
        study = make_watched(database, NAME, trials)
        atomic_write(workspace.study_file, public_toml(study))
        draw_study(Session(study, workspace, database))
        store_assessment(database, NAME)


def _show(kind: str, found: Times) -> None:
    for name, times in found.items():
        spread = f"{min(times):.2f} to {max(times):.2f}"
        print(
            f"{kind:<11} {name:<20} median {statistics.median(times):.2f} s ({spread}, {len(times)} rounds)", flush=True
        )


MEASUREMENTS: dict[str, Callable[[Path, int], Times]] = {"commands": commands, "page": page}

if __name__ == "__main__":
    main()
