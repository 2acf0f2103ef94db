"""A search that is stored in the workspace's own server, which is killed in the middle of it."""

import os
import re
import signal
import time
from multiprocessing.context import ForkProcess
from pathlib import Path

from foldrace.search.monitor.status_reader import read_status
from foldrace.search.session import open_session
from foldrace.studies.loading import load
from tests.support.commands import SMALL_RUN, begin_foldrace, foldrace_in, wait_for_end
from tests.support.workspace_servers import open_workspace, postmaster

SETTINGS = (*SMALL_RUN, "--set", "search.checkpoint_minutes=0.001", "--set", "search.storage=workspace")


def wait_for_file(folder: Path, pattern: str, process: ForkProcess) -> None:
    while not any(folder.glob(pattern)):
        assert process.is_alive()
        time.sleep(0.05)


def test_a_killed_server_that_is_started_again_in_the_middle_of_a_search_loses_nothing() -> None:
    with open_workspace() as root:
        command = ["run", "demo", "--workers", "1", "--workspace", str(root), *SETTINGS]
        with (root / "told").open("w") as told:
            run = begin_foldrace(root, command, told.fileno(), told.fileno())
        wait_for_file(root, "demo/trial-*/fold-*/attempt-*/checkpoint-*", run)
        os.kill(postmaster(root), signal.SIGKILL)
        again = foldrace_in(root, "database", "start", "--workspace", str(root))

        assert again.stdout.startswith("started"), again.stderr
        assert wait_for_end(run, 200) == 0, (root / "told").read_text(encoding="utf-8")
        with open_session(load("demo", ["search.storage=workspace"]), root) as session:
            status = read_status(session.database, "demo")
        assert (status.trials, status.failures) == ({"COMPLETE": 1}, ())
        log = (root / "demo/logs/worker-0.log").read_text(encoding="utf-8")
        assert len(re.findall("attempt 1, fold", log)) == 2  # of two folds, and none began anew
