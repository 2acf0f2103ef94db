"""Nothing is sent anywhere: no tracker and no command asks for a host."""

from pathlib import Path

import pytest

from tests.support.network import hosts_asked_for

TRACK = """
import time
from pathlib import Path
from foldrace.storage.trackers.protocol import Record, TrackedStudy
from foldrace.storage.trackers.registry import Trackers

trackers = Trackers(["{kind}"], TrackedStudy("small", "fingerprint", Path("runs/small").absolute()))
series, values = {{"acc": [(1, 0.5)]}}, {{"mean": 0.6}}
record = Record("trial-00003", 3, "COMPLETE", 0.6, {{"lr": 1e-3}}, series, values, {{"a": "b"}}, {{}})
trackers.log(record)
trackers.close()
assert not trackers._paused_until["{kind}"] > 0, "it failed"
"""
COMMANDS = """
from foldrace.search.api.train import check
from foldrace.search.cli.main import app
from foldrace.search.session import open_session
from foldrace.search.study_store import open_study
from foldrace.storage.files.atomic import atomic_write
from foldrace.search.study_store import public_toml
from foldrace.studies.loading import load
from pathlib import Path

study = load("demo", [])
with open_session(study, Path("runs")) as session:
    open_study(session.database, study)
    atomic_write(session.workspace.study_file, public_toml(study))
for command in ("list", "status demo", "trials demo", "pause demo", "resume demo", "clean demo", "check demo"):
    app(command.split(), standalone_mode=False)
"""


def test_the_guard_notes_a_host(tmp_path: Path) -> None:
    script = "import socket, contextlib\nwith contextlib.suppress(OSError): socket.getaddrinfo('example.org', 80)"

    assert hosts_asked_for(script, tmp_path) == ["example.org"]


@pytest.mark.parametrize("kind", ["mlflow", "neptune", "tensorboard"])
def test_no_tracker_asks_for_a_host(tmp_path: Path, kind: str) -> None:
    assert hosts_asked_for(TRACK.format(kind=kind), tmp_path) == []


def test_no_command_asks_for_a_host(tmp_path: Path) -> None:
    assert hosts_asked_for(COMMANDS, tmp_path) == []
