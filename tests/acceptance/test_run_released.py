"""The folder that any released version has left goes on today: `tests/data/make_run.py` says what is in it."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import foldrace
from tests.support.commands import Command, foldrace_in
from tests.support.later_version import KNOB, KNOB_DEFAULT

DATA = Path(__file__).parents[1] / "data"
RELEASED = sorted(DATA.glob("foldrace-*.run.tar.xz"))
MADE_IN = "/tmp/foldrace-run"  # what the paths in a study file begin with


@pytest.fixture(params=RELEASED, ids=lambda path: path.name)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder, unpacked; as its owner moved it, the study files have the new path of their data."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "run"
    for file in folder.glob("runs/**/*.toml"):
        file.write_text(file.read_text(encoding="utf-8").replace(MADE_IN, str(folder)), encoding="utf-8")
    return folder


@pytest.fixture
def later(released: Path, tmp_path: Path) -> Command:
    """Runs commands of a later version, which has a knob more, with what only that version understands."""
    start = tmp_path / "start" / "sitecustomize.py"
    start.parent.mkdir()
    start.write_text("from tests.support.later_version import become\n\nbecome()\n", encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(start.parent), str(DATA.parents[1])])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "foldrace", *arguments, "--set", f"training.{KNOB}={KNOB_DEFAULT}"]
        return subprocess.run(command, cwd=released, env=environment, capture_output=True, text=True, check=False)

    return run


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_this_version_has_left_one_too() -> None:
    assert f"foldrace-{foldrace.__version__}.run.tar.xz" in [path.name for path in RELEASED]


def test_status_shows_the_old_trials(released: Path) -> None:
    shown = foldrace_in(released, "status", "old", "--json")

    assert shown.returncode == 0, shown.stderr
    status = json.loads(shown.stdout)
    assert status["trials"] == {"COMPLETE": 1, "RUNNING": 1}
    assert (status["best"]["number"], round(status["best"]["value"], 4)) == (0, 0.6719)


def test_export_writes_the_old_final_file_again(released: Path) -> None:
    file = released / "runs" / "old" / "final.toml"
    before = file.read_text(encoding="utf-8")
    file.unlink()

    exported = foldrace_in(released, "export", "old")

    assert exported.returncode == 0, exported.stderr
    again, old = tomllib.loads(file.read_text(encoding="utf-8")), tomllib.loads(before)
    assert old["training"].items() <= again.pop("training").items()  # every knob is there now
    assert again == {key: value for key, value in old.items() if key != "training"}


@pytest.mark.parametrize(("of", "title"), [("old", "old"), ("runs/old/final-1", "old/final-1")])
def test_report_draws_the_old_curves(released: Path, of: str, title: str) -> None:
    told = foldrace_in(released, "report", of, "--output", "report.html")

    assert told.returncode == 0, told.stderr
    page = (released / "report.html").read_text(encoding="utf-8")
    assert title in page
    assert "0.6719" in page


def test_an_interrupted_trial_goes_on_from_its_old_checkpoint(released: Path, later: Command) -> None:
    """Also by a version that has a knob more, at its default."""
    done = later("run", "old.toml", "--workers", "1")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 trials done: 2 complete" in done.stdout
    assert "tokens    0.0% unknown" in done.stdout
    log = "".join(file.read_text(encoding="utf-8") for file in (released / "runs" / "old" / "logs").iterdir())
    assert "trial 1, attempt 2" in log
    assert "trial 1 goes on in fold 1, at step 100 of 800" in log
    assert len(list((released / "runs" / "old").glob("data-*"))) == 1  # its tokenizer and its folds, not new ones


def test_a_later_version_finds_the_finished_final_job_and_trains_nothing_again(released: Path, later: Command) -> None:
    run = released / "runs" / "old"
    before = {name: hashes(run / name) for name in ("final-1/seed-77", "submissions")}

    done = later("final", "runs/old/final.toml", "--workers", "1")

    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: hashes(run / name) for name in before} == before
    assert not (run / "final-2").exists()
    assert "out-of-fold accuracy 0.6719" in done.stdout


def test_old_models_predict_what_they_predicted(released: Path) -> None:
    [submission] = (released / "runs" / "old").glob("submissions/*/*.csv")

    done = foldrace_in(released, "predict", "runs/old/final-1", "test.tsv", "--output", "again.csv")

    assert done.returncode == 0, done.stderr
    assert (released / "again.csv").read_bytes() == submission.read_bytes()
    assert done.stdout.endswith("; 0.0% of the tokens unknown\n")
