"""A real browser at the served dashboard: Debian's chromium, as `.ci/run` installs it; without it these tests fail."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import matplotlib.image
import numpy as np
import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna_dashboard import save_note
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from foldrace.search.study_store import open_study, public_toml
from foldrace.storage.database import Database
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workspace import Workspace
from foldrace.studies.data import Data
from foldrace.studies.settings import Range
from foldrace.studies.study import Study

CHROMIUM = Path("/usr/bin/chromium")
QUIET = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
ARGUMENTS = [*QUIET.split(), "--disable-component-update", "--disable-sync"]
SCRIPT = "<script>localStorage.ran = 1</script>"
NOTE = "The **fold table** of this trial <img src=x onerror='localStorage.ran = 1'>"
TRIAL = "/dashboard/studies/1/trials?numbers=0"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Callable[[], BrowserContext]]:
    """Open a browser that has never been anywhere."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: apt-get install chromium (.ci/run does)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser.new_context
        browser.close()


@pytest.fixture
def page(chromium: Callable[[], BrowserContext]) -> Iterator[Page]:
    context = chromium()
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run with a trial that has a note and three artifacts: a picture, a page, and a drawing with a script."""
    workspace = Workspace(tmp_path_factory.mktemp("runs"), "small")
    train = workspace.folder / "train.tsv"
    atomic_write(train, "a row")
    study = Study(name="small", data=Data(train=train), training={"gamma": Range(low=0.4, high=1.0)})
    atomic_write(workspace.study_file, public_toml(study))
    atomic_write(workspace.folder / "page.html", SCRIPT)
    atomic_write(workspace.folder / "drawing.svg", f'<svg xmlns="http://www.w3.org/2000/svg">{SCRIPT}</svg>')
    matplotlib.image.imsave(workspace.folder / "curve.png", np.zeros((40, 60)))
    (workspace.folder / "artifacts").mkdir()
    with closing(Database.open(f"sqlite:///{workspace.folder / 'study.db'}")) as database:
        open_study(database, study)
        trial = optuna.load_study(study_name="small", storage=database.storage).ask()
        save_note(trial, NOTE)
        store = FileSystemArtifactStore(workspace.folder / "artifacts")
        for name in ("curve.png", "page.html", "drawing.svg"):
            upload_artifact(artifact_store=store, file_path=str(workspace.folder / name), study_or_trial=trial)
    return workspace


@pytest.fixture(scope="module")
def link(workspace: Workspace) -> Iterator[str]:
    """What `foldrace dashboard small` prints."""
    command = [sys.executable, "-m", "foldrace", "dashboard", "small", "--port", "0"]
    command += ["--workspace", str(workspace.root)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as served:
        try:
            assert served.stdout is not None
            yield served.stdout.readline().split()[1]
        finally:
            served.terminate()


def site(link: str) -> str:
    return link.partition("/?")[0]


def artifacts(page: Page, link: str) -> dict[str, str]:
    """The address of each artifact of the trial, by its file name, as the dashboard's own pages learn it."""
    found = page.request.get(f"{site(link)}/api/studies/1").json()["trials"][0]
    return {
        artifact["filename"]: f"{site(link)}/artifacts/1/{found['trial_id']}/{artifact['artifact_id']}"
        for artifact in found["artifacts"]
    }


def test_the_link_shows_the_study_its_trial_its_note_and_its_picture(page: Page, link: str) -> None:
    page.goto(link)
    expect(page.get_by_text("small", exact=False).first).to_be_visible()
    assert "token" not in page.url

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    page.goto(site(link) + TRIAL)
    expect(page.get_by_text("fold table")).to_be_visible()
    picture = page.locator(f"img[src='{artifacts(page, link)['curve.png'].removeprefix(site(link))}']").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") == 60
    assert set(asked) == {"GET"}  # what it shows needs nothing that read-only refuses
    pencil = page.get_by_test_id("EditIcon").first  # of the note
    expect(pencil).to_be_attached()
    expect(pencil).to_be_hidden()
    assert page.evaluate("localStorage.ran") is None


def test_without_the_token_nothing_is_seen(page: Page, link: str) -> None:
    reply = page.goto(f"{site(link)}/dashboard")
    assert reply is not None
    assert reply.status == 401
    assert page.inner_text("body").strip() == "open the link that `foldrace dashboard` printed; it holds the key"


def test_the_session_cannot_be_read_by_a_script(page: Page, link: str) -> None:
    page.goto(link)
    assert page.evaluate("document.cookie") == ""
    cookie = page.context.cookies()[0]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")


def test_another_name_for_this_server_is_refused(page: Page, link: str) -> None:
    assert page.request.get(link, headers={"Host": "evil.example"}).status == 400


def test_a_delete_is_refused_when_read_only(page: Page, link: str) -> None:
    page.goto(link)
    status = page.evaluate("fetch('/api/studies/1', {method: 'DELETE'}).then(reply => reply.status)")
    assert status == 403


@pytest.mark.parametrize("name", ["page.html", "drawing.svg"])
def test_a_script_in_an_artifact_does_not_run(page: Page, link: str, name: str) -> None:
    page.goto(link)
    address = artifacts(page, link)[name]
    with page.expect_download() as download:
        page.evaluate("address => { location = address }", address)
    assert download.value.url == address
    page.goto(link)
    assert page.evaluate("localStorage.ran") is None
