"""The dashboard over real HTTP on loopback, on either database: what is seen, what is refused, what never shows."""

import http.client
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna_dashboard import save_note

from foldrace.search.dashboard.server import DashboardError, open_server
from foldrace.search.session import Session
from foldrace.search.study_store import open_study, public_toml
from foldrace.search.trials.claims import Trials
from foldrace.storage.database import Database
from foldrace.storage.errors import StorageError
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workspace import Workspace
from foldrace.studies.study import Study
from tests.support.serving import serving

CANARY = "hunter2-canary"
STUDIES = "/api/studies"
PAGES = ["/dashboard", "/api/meta", STUDIES, f"{STUDIES}/1", "/csv/1", f"{STUDIES}/1/plot/slice"]
PAGES += [f"{STUDIES}/1/param_importances", f"{STUDIES}/999", f"{STUDIES}/x", "/csv/999", "/artifacts/1/ab", "/nowhere"]
Reply = tuple[int, dict[str, str], str]


class Client:
    """A client that came by the link."""

    def __init__(self, link: str) -> None:
        self._address, _, query = link.removeprefix("http://").partition("/")
        self.cookie = self.ask("/" + query, Cookie="")[1]["Set-Cookie"].partition(";")[0]

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Reply:
        with closing(http.client.HTTPConnection(self._address, timeout=20)) as connection:
            sent = {"Cookie": getattr(self, "cookie", ""), "Content-Type": "application/json"} | headers
            connection.request(method, path, body, sent)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read().decode(errors="replace")


@pytest.fixture
def session(database: Database, make_study: Callable[..., Study], tmp_path: Path) -> Session:
    study = make_study("small")
    open_study(database, study)
    return Session(study, Workspace(tmp_path / "runs", "small"), database)


@pytest.fixture
def open_client() -> Iterator[Callable[..., Client]]:
    """Serve a session, and come in by the link."""
    with ExitStack() as stack:

        def come_in(session: Session, **arguments: Any) -> Client:
            server, link = open_server(session, **arguments)
            stack.enter_context(serving(server))
            return Client(link)

        yield come_in


def leave_artifact(session: Session, name: str, content: str) -> str:
    """The path under which an artifact of a running trial is served."""
    trial = optuna.load_study(study_name="small", storage=session.database.storage).ask()
    folder, file = session.workspace.folder / "artifacts", session.workspace.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    store = FileSystemArtifactStore(folder)
    artifact = upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=trial)
    return f"/artifacts/1/{trial._trial_id}/{artifact}"


def names(session: Session) -> list[str]:
    return optuna.get_all_study_names(session.database.storage)


def test_who_has_the_link_sees_the_study_and_its_notes(session: Session, open_client: Callable[..., Client]) -> None:
    save_note(optuna.load_study(study_name="small", storage=session.database.storage).ask(), "# fold table")
    client = open_client(session)
    assert '"study_name": "small"' in client.ask("/api/studies")[2]
    assert "# fold table" in client.ask("/api/studies/1")[2]
    assert client.ask("/static/bundle.js", **{"Accept-Encoding": "gzip"})[0] == 200


def test_a_study_s_page_names_the_data_that_it_will_ask_for(
    session: Session, open_client: Callable[..., Client]
) -> None:
    client = open_client(session)
    named = client.ask("/dashboard/studies/1")[1]["Link"].partition(">")[0].removeprefix("<")
    assert named == "/api/studies/1?after=0"
    assert '"name": "small"' in client.ask(named)[2]
    assert "Link" not in client.ask("/dashboard")[1]


def test_who_has_not_sees_nothing(session: Session, open_client: Callable[..., Client]) -> None:
    client = open_client(session)
    for path in PAGES:
        assert client.ask(path, Cookie="")[::2] == (
            401,
            "open the link that `foldrace dashboard` printed; it holds the key\n",
        )


def test_a_name_that_is_not_ours_is_refused(session: Session, open_client: Callable[..., Client]) -> None:
    assert open_client(session).ask("/api/studies", Host="evil.example")[0] == 400


@pytest.mark.parametrize(
    "path", ["/static/../../../etc/passwd", "/static/%2e%2e/index.html", "/artifacts/1/..%2f..%2fstudy.db"]
)
def test_no_path_leads_out(session: Session, open_client: Callable[..., Client], path: str) -> None:
    assert open_client(session).ask(path)[0] == 400


def test_read_only_changes_nothing(session: Session, open_client: Callable[..., Client]) -> None:
    client = open_client(session)
    assert client.ask("/api/studies/1", "DELETE")[0] == 403
    assert client.ask("/api/studies/1/rename", "POST", '{"study_name": "other"}')[0] == 403
    assert client.ask("/api/studies/1/note", "PUT", '{"version": 1, "body": "x"}')[0] == 403
    assert names(session) == ["small"]


def test_a_study_is_neither_deleted_nor_renamed_while_a_worker_holds_a_trial(
    session: Session, open_client: Callable[..., Client], trials_of: Callable[[Study], Trials]
) -> None:
    client, claim = open_client(session, allow_edit=True), trials_of(session.study).claim()
    assert claim is not None
    with claim:
        status, _, line = client.ask("/api/studies/1", "DELETE")
        assert status == 409
        assert line.startswith("workers hold 1 of this study's trials; `foldrace stop` lets them go")
        assert client.ask("/api/studies/1/rename", "POST", '{"study_name": "other"}')[0] == 409
    assert client.ask("/api/studies/1", "DELETE")[0] == 204
    assert names(session) == []


def test_a_page_of_another_site_deletes_nothing(session: Session, open_client: Callable[..., Client]) -> None:
    client = open_client(session, allow_edit=True)
    assert client.ask("/api/studies/1", "DELETE", Origin="http://evil.example")[0] == 403
    assert names(session) == ["small"]


def test_an_html_artifact_is_a_file_and_a_png_is_shown(session: Session, open_client: Callable[..., Client]) -> None:
    page, picture = leave_artifact(session, "a.html", "<script>"), leave_artifact(session, "a.png", "PNG")
    client = open_client(session)
    assert client.ask(page)[1]["Content-Disposition"] == "attachment"
    assert client.ask(page)[1]["Content-Type"] == "application/octet-stream"
    assert client.ask(picture)[1]["Content-Type"] == "image/png"
    assert client.ask(picture)[2] == "PNG"


def test_artifacts_that_are_gone_do_no_harm(session: Session, open_client: Callable[..., Client]) -> None:
    picture = leave_artifact(session, "a.png", "PNG")
    client = open_client(session, allow_edit=True)
    shutil.rmtree(session.workspace.folder / "artifacts")
    assert client.ask(picture)[0] == 404
    assert client.ask("/api/studies/1")[0] == 200
    assert client.ask("/api/studies/1", "DELETE")[0] == 204


def test_a_file_in_the_artifacts_place_does_no_harm(session: Session, open_client: Callable[..., Client]) -> None:
    atomic_write(session.workspace.folder / "artifacts", "not a folder")
    assert open_client(session).ask("/api/studies/1")[0] == 200


def test_looking_waits_for_no_writer(tmp_path: Path, session: Session, open_client: Callable[..., Client]) -> None:
    client = open_client(session)
    with session.database.engine.begin() as connection:  # on SQLite, the one that may write
        connection.execute(sa.text("UPDATE studies SET study_name = 'small'"))
        assert client.ask("/api/studies/1")[0] == 200


def test_a_password_never_shows(
    postgres_url: str, make_study: Callable[..., Study], tmp_path: Path, open_client: Callable[..., Client]
) -> None:
    url = sa.make_url(postgres_url).set(password=CANARY).render_as_string(hide_password=False)
    study = make_study("small", storage=url)
    with closing(Database.open(url)) as database:
        open_study(database, study)
        client = open_client(Session(study, Workspace(tmp_path, "small"), database))
        replies = [client.ask(path) for path in PAGES]
    assert {status for status, _, _ in replies} >= {200, 404}
    assert not [reply for reply in replies if CANARY in str(reply)]


def test_a_port_in_use_is_one_line(session: Session, open_client: Callable[..., Client]) -> None:
    port = int(open_client(session)._address.partition(":")[2])
    with pytest.raises(DashboardError, match=f"--port {port}: Address already in use; give another, or --port 0"):
        open_server(session, port=port)


def test_a_host_that_is_not_here_is_one_line(session: Session) -> None:
    with pytest.raises(DashboardError, match=r"--host 192\.0\.2\.1 --port 0: Cannot assign requested address"):
        open_server(session, "192.0.2.1")


def test_a_study_that_is_not_there_is_one_line(session: Session, make_study: Callable[..., Study]) -> None:
    with pytest.raises(StorageError, match="no study other; there: small"):
        open_server(Session(make_study("other"), session.workspace, session.database))


def test_the_command_ends_cleanly_on_ctrl_c(make_study: Callable[..., Study], tmp_path: Path) -> None:
    workspace, study = Workspace(tmp_path / "runs", "small"), make_study("small")
    with closing(Database.open(f"sqlite:///{workspace.folder / 'study.db'}")) as database:
        open_study(database, study)
    atomic_write(workspace.study_file, public_toml(study))
    command = [
        sys.executable,
        "-m",
        "foldrace",
        "dashboard",
        "small",
        "--port",
        "0",
        "--workspace",
        str(workspace.root),
    ]
    with subprocess.Popen(
        command, stdout=-1, stderr=-1, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as served:
        try:
            assert served.stdout is not None
            client = Client(served.stdout.readline().split()[1])
            assert client.ask("/dashboard")[0] == 200
            served.send_signal(signal.SIGINT)
            _, errors = served.communicate(timeout=30)
        finally:
            served.kill()
    assert (served.returncode, errors) == (0, "")
