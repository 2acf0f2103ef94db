"""Who may only read sees all that there is to see; what another program keeps in the database is one line."""

import os
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from foldrace.errors import FoldraceError
from foldrace.search.api import control, inspect
from foldrace.search.dashboard.server import open_server
from foldrace.search.session import PAGE, open_session
from foldrace.search.study_store import open_study, public_toml
from foldrace.search.trials.claims import Trials
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.study import Study
from tests.support.claims import NO_HEARTBEAT, must_claim
from tests.support.postgres import administer
from tests.support.records import record_at
from tests.support.shared_folders import let_others_in

MakeStudy = Callable[..., Study]


def search(study: Study, root: Path) -> None:
    """Two trials of a study that are complete, and one that was pruned."""
    with open_session(study, root) as session:
        open_study(session.database, study)
        trials = Trials(session.database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
        for value in (0.6, 0.8):
            claim = must_claim(trials)
            for fold in range(study.folds.count):
                claim.report(fold, value, record_at(study.defaults.evaluations - 1, value))
            claim.finish(value)
        must_claim(trials).prune("it lies behind")
        trials.leave()
        session.workspace.folder.mkdir(parents=True, exist_ok=True)
        session.workspace.study_file.write_text(public_toml(study))


def look(study: Study, root: Path, out: Path) -> list[object]:
    """What each command that reads gives; files go to another folder."""
    best = inspect.export(study, output=out / f"{os.getpid()}.toml", workspace=root).trial
    report = inspect.report(study, output=out / f"{os.getpid()}.html", workspace=root)
    with open_session(study, root, create=False, retries=PAGE) as session:
        server, _ = open_server(session)
        server.close()
    return [
        str(inspect.status(study, workspace=root)),
        str(inspect.trial_table(study, workspace=root)),
        [(run.name, run.state, run.best) for run in inspect.list_runs(root)],
        (best, inspect.best(study, workspace=root)),
        report.stat().st_size > 1000,
    ]


def look_as_another_user(study: Study, root: Path, out: Path) -> list[object]:
    """To root, nothing is read-only."""
    if os.geteuid() == 0:
        os.setuid(65534)
    return look(study, root, out)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def reader(postgres_server: sa.URL, postgres_url: str) -> Iterator[str]:
    """The URL of the database for a role that may only read."""
    url = sa.make_url(postgres_url)
    administer(postgres_server, "CREATE ROLE looker LOGIN")
    administer(url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker")
    yield url.set(username="looker").render_as_string()
    administer(url, "DROP OWNED BY looker", "DROP ROLE looker")


def test_a_role_that_may_only_read_sees_what_its_owner_sees(
    reader: str, postgres_url: str, make_study: MakeStudy, tmp_path: Path, out: Path
) -> None:
    study = make_study(storage=postgres_url)
    search(study, tmp_path / "runs")

    assert look(make_study(storage=reader), tmp_path / "runs", out) == look(study, tmp_path / "runs", out)


def test_a_user_who_may_only_read_a_run_sees_what_its_owner_sees(
    make_study: MakeStudy, tmp_path: Path, out: Path, forks: ForkContext
) -> None:
    study, root = make_study(), tmp_path / "runs"
    search(study, root)
    seen = look(study, root, out)
    let_others_in(tmp_path)
    for path in (*root.rglob("*"), root):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with forks.Pool(1) as pool:
        assert pool.apply(look_as_another_user, [study, root, out]) == seen
    for path in (root, *root.rglob("*")):
        path.chmod(0o755)


@pytest.mark.parametrize(
    "attrs", [{}, {"identity": "x", "toml": 5}, {"identity": {}, "toml": "[[["}, {"identity": {"a": 1}, "toml": ""}]
)
@pytest.mark.parametrize("directions", [["minimize"], ["minimize", "maximize"]])
def test_a_study_of_another_program_is_one_line(
    storage_url: str, make_study: MakeStudy, tmp_path: Path, directions: list[Any], attrs: dict[str, object]
) -> None:
    study = make_study(storage=storage_url)
    search(make_study("ours", storage=storage_url), tmp_path)
    with open_session(study, tmp_path) as session:
        other = optuna.create_study(study_name=study.name, storage=session.database.storage, directions=directions)
        for key, value in attrs.items():
            other.set_user_attr(key, value)
        other.tell(other.ask(), [1.0] * len(directions))

    commands: list[Callable[..., object]] = [
        inspect.status,
        inspect.trial_table,
        inspect.best,
        inspect.export,
        inspect.report,
        control.pause,
        control.resume,
        control.stop,
    ]
    for command in commands:
        with pytest.raises(FoldraceError, match=r"study small(:| was not made by foldrace| is there with other)"):
            command(study, workspace=tmp_path)
    assert inspect.status(make_study("ours", storage=storage_url), workspace=tmp_path).ended == 3
