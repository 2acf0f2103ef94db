"""The first hour of a new user: his own data, a study file for it, a search that is interrupted, a submission.

Each step is run at a terminal, in its order, and what it says comes next is the next step.
"""

import json
import re
import signal
from pathlib import Path

import pytest

from foldrace.studies.demo.generator import labelled_rows
from tests.support.commands import Finished, foldrace_in
from tests.support.terminal import Shown, at_terminal

ROOT = Path(__file__).parents[2]
SHORT = {  # the file that `init` wrote, made short by hand
    r"(?m)^count = \d+": "count = 2",
    r"(?m)^epochs = \{.*": "epochs = { low = 2, high = 3 }",
    r"(?m)^epochs = \d+": "epochs = 3",
    r"(?m)^trials = \d+": "trials = 2",
    r"(?m)^folds = \d+": "folds = 2",
}


class Walk:
    """The steps that were made, by their names, and the folder that they were made in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: dict[str, Shown] = {}

    def step(self, name: str, *arguments: str) -> None:
        self.steps[name] = at_terminal(self.folder, *arguments)

    def begin_and_interrupt(self, *arguments: str) -> None:
        self.steps["interrupted"] = at_terminal(
            self.folder, *arguments, interrupt_when=lambda: "trial 0, attempt 1" in self.logs
        )

    @property
    def logs(self) -> str:
        """What the workers of the search have said."""
        return "".join(path.read_text(encoding="utf-8") for path in self.folder.glob("runs/*/logs/worker-*.log"))

    def edit(self, file: str, changes: dict[str, str]) -> None:
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        for pattern, new in changes.items():
            text = re.sub(pattern, new, text)
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    walk = Walk(tmp_path_factory.mktemp("hour"))
    data = walk.folder / "my-data"
    data.mkdir()
    (data / "train.tsv").write_bytes(labelled_rows(1, 250)[0])
    (data / "test.tsv").write_bytes(labelled_rows(2, 40)[1])
    walk.step("init", "init", "my-data")
    walk.edit("my-data.toml", SHORT)
    walk.step("check", "check", "my-data.toml")
    walk.begin_and_interrupt("run", "my-data.toml", "--workers", "1")
    walk.step("pause", "pause", "my-data.toml")
    walk.step("paused", "status", "my-data.toml")
    walk.step("run", "run", "my-data.toml", "--workers", "1")
    walk.step("trials", "trials", "my-data")
    walk.step("export", "export", "my-data")
    walk.edit("runs/my-data/final.toml", {r"(?m)^lr = .*": "lr = 0.002"})
    walk.step("export again", "export", "my-data")
    walk.step("final", "final", "runs/my-data/final.toml", "--workers", "1")
    walk.step("predict", "predict", "my-data", "my-data/test.tsv")
    walk.step("report", "report", "runs/my-data/final-1")
    return walk


def test_each_step_says_the_next_one(walk: Walk) -> None:
    assert {name: shown.next_steps for name, shown in walk.steps.items() if shown.next_steps} == {
        "init": ["foldrace check my-data.toml"],
        "check": ["foldrace run my-data.toml"],
        "pause": ["foldrace resume my-data.toml"],
        "paused": ["foldrace resume my-data.toml"],
        "run": ["foldrace export my-data"],
        "trials": ["foldrace export my-data"],
        "export": ["foldrace final runs/my-data/final.toml"],
        "final": ["foldrace report runs/my-data/final-1"],
        "predict": ["foldrace report runs/my-data/final-1"],
        "report": ["hand in runs/my-data/submissions/2fold_tiny1/2fold_tiny1.csv"],
    }


def test_each_step_ends_well_but_those_that_were_told_not_to(walk: Walk) -> None:
    ended = {name: shown.status for name, shown in walk.steps.items() if shown.status}

    assert ended == {"interrupted": 128 + signal.SIGINT, "export again": 2}


def test_an_interrupted_run_says_why_it_ended_and_goes_on_from_its_checkpoint(walk: Walk) -> None:
    told = walk.steps["interrupted"].screen

    assert "SIGINT reached foldrace" in told
    assert told.splitlines()[-1] == "stopped   the same command continues it"
    assert "paused" in walk.steps["paused"].screen.splitlines()[0]
    assert "trial 0, attempt 2" in walk.logs
    assert "2 of 2 trials done" in walk.steps["run"].screen


def test_an_edited_file_is_kept_and_used(walk: Walk) -> None:
    assert "final.toml: was edited, or foldrace did not write it; --force" in walk.steps["export again"].screen
    assert "lr = 0.002" in (walk.folder / "runs/my-data/final-1/study.toml").read_text(encoding="utf-8")


def test_everything_that_was_promised_is_there(walk: Walk) -> None:
    run = walk.folder / "runs/my-data"

    assert (run / "submissions/2fold_tiny1/2fold_tiny1.csv").read_text(encoding="utf-8").startswith("pred\n")
    assert "40 rows predicted by runs/my-data/final-1" in walk.steps["predict"].screen
    assert (run / "final-1/report.html").exists()
    state = json.loads(foldrace_in(walk.folder, "status", "my-data/final-1", "--json").stdout)
    assert state["trials"] == {"COMPLETE": 2}


def test_the_demo_says_what_the_readme_shows(finished: Finished) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("Some of what `make demo` says:")[2].partition("Which trials")[0].split("\n")
    labels = [line.split()[0] for line in shown if line.startswith("    ")]
    told = [line.split()[0] for line in f"{finished.run}\n{finished.final}".splitlines() if line.strip()]

    assert labels == ["compute", "best", "leads", "believed", "folds", "oof", "honest", "submit"]
    assert set(labels) - {"leads", "believed"} <= set(told)  # so few trials lead nobody
