"""Pictures of what a person sees of a search, for the README: docs/images/*.png.

    python -m benchmarks.screenshots [--workspace FOLDER] [--output docs/images]

Searches the demo, exports its best trial and trains the ensemble, in FOLDER (a temporary one, unless given; a run that
is there goes on, and one that is done is shown as it is, without its live view). The pictures are then taken by
Debian's chromium: of the live view as the search went on, of the dashboard, of a trial in it, and of both reports.
"""

import argparse
import importlib.util
import io
import os
import subprocess
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI

from benchmarks.watching import ARGUMENTS, CHROMIUM, FOLDRACE, served
from foldrace.search.monitor.status import StudyStatus
from foldrace.search.monitor.status_reader import find_status
from foldrace.search.monitor.view import live_view
from foldrace.search.session import open_session
from foldrace.search.workers.supervisor import Snapshot
from foldrace.storage.workspace import WORKSPACE
from foldrace.studies.loading import load

STUDY = "demo"
WIDTH, HEIGHT, SCALE = 1180, 1500, 0.75  # of a page, in pixels, and how large a picture shows it
STUDY_HEIGHT, TRIAL_HEIGHT = 1700, 1120  # of the dashboard's pages: down to the race; without what says the same again
COLUMNS = 80  # of the terminal
ENOUGH = 8  # trials that have ended, or were put aside, for the live view to show something


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="foldrace-screenshots-") as folder:
        if arguments.workspace is None:
            os.chdir(folder)  # so that no picture shows its path
        workspace = arguments.workspace or WORKSPACE
        live = _search(workspace)
        with sync_playwright() as playwright:
            fonts = _with_korean(Path(folder) / "fonts.conf")
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, env=fonts)
            if live is not None:
                _shoot_svg(browser.new_page(), live, output / "live.png")
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE)
            _shoot_reports(page, workspace, output)
            _shoot_dashboard(page, workspace, output)
            browser.close()


def _with_korean(file: Path) -> dict[str, str | float | bool]:
    """An environment in which chromium finds the Korean font of our pictures, on a system that has none."""
    package = importlib.util.find_spec("koreanize_matplotlib")
    assert package is not None
    folder = Path(str(package.origin)).parent / "fonts"
    include = '<include ignore_missing="yes">/etc/fonts/fonts.conf</include>'
    file.write_text(f"<fontconfig>{include}<dir>{folder}</dir></fontconfig>", encoding="utf-8")
    return {**os.environ, "FONTCONFIG_FILE": str(file)}


def _search(workspace: Path) -> str | None:
    """Run the demo, and its ensemble; returns the live view in the middle of it as SVG, None when it was over."""
    where = ["--workspace", str(workspace)]
    with subprocess.Popen([*FOLDRACE, "run", STUDY, "--workers", "2", *where]) as running:
        live = _live(workspace, running)
        if running.wait():
            raise SystemExit(f"foldrace run {STUDY} ended with {running.returncode}")
    final = workspace / STUDY / "final.toml"
    if not final.exists():
        subprocess.run([*FOLDRACE, "export", STUDY, *where], check=True)
    subprocess.run([*FOLDRACE, "final", str(final), "--workers", "2", *where], check=True)
    return live


def _live(workspace: Path, running: "subprocess.Popen[bytes]") -> str | None:
    while running.poll() is None:
        status = _status(workspace)
        if status is not None and _is_worth_showing(status):
            console = Console(width=COLUMNS, record=True, force_terminal=True, file=io.StringIO())
            console.print(live_view(status, Snapshot((), "")))
            return console.export_svg(title="foldrace run demo", theme=MONOKAI)
        time.sleep(1)
    return None


def _status(workspace: Path) -> StudyStatus | None:
    database = workspace / STUDY / "study.db"
    if not database.exists():
        return None
    with open_session(load(STUDY, [], runs=workspace, files=False), workspace) as session:
        return find_status(session.database, STUDY)


def _is_worth_showing(status: StudyStatus) -> bool:
    at_work = [worker for worker in status.workers if worker.accuracy is not None and not worker.stopped]
    return status.ended + len(status.aside) >= ENOUGH and len(at_work) > 0


def _shoot_svg(page: Page, svg: str, path: Path) -> None:
    page.set_content(f'<body style="margin:0;width:860px">{svg}</body>')
    _save(page.locator("svg").screenshot(), path)


def _shoot_reports(page: Page, workspace: Path, output: Path) -> None:
    for name, asked in (("report", STUDY), ("report-final", str(workspace / STUDY / "final-1"))):
        file = workspace / f"{name}.html"
        where = [] if name == "report-final" else ["--workspace", str(workspace)]
        subprocess.run([*FOLDRACE, "report", asked, "--output", str(file), *where], check=True)
        page.goto(file.absolute().as_uri())
        _save(page.screenshot(), output / f"{name}.png")


def _shoot_dashboard(page: Page, workspace: Path, output: Path) -> None:
    with served(STUDY, workspace) as link:
        page.set_viewport_size({"width": WIDTH, "height": STUDY_HEIGHT})
        page.goto(link)
        page.locator("[id='user-defined-plot:race'] .lines path").first.wait_for()
        page.wait_for_load_state("networkidle")
        _save(page.screenshot(), output / "dashboard.png")
        best = page.evaluate("fetch('/api/studies/1').then(r => r.json()).then(s => s.best_trials[0].number)")
        page.set_viewport_size({"width": WIDTH, "height": TRIAL_HEIGHT})
        page.goto(f"{link.partition('/?')[0]}/dashboard/studies/1/trials?numbers={best}")
        page.locator("table").first.wait_for()
        page.locator("img").first.wait_for()
        page.wait_for_load_state("networkidle")
        _save(page.screenshot(), output / "trial.png")


def _save(png: bytes, path: Path) -> None:
    Image.open(io.BytesIO(png)).convert("RGB").save(path, optimize=True)
    print(f"{path} {path.stat().st_size // 1024} KiB", flush=True)


if __name__ == "__main__":
    main()
