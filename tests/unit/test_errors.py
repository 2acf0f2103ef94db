"""No message shows a password, wherever a user wrote it."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from foldrace.errors import FoldraceError
from foldrace.search.cli.options import load_study
from foldrace.studies.loading import load
from foldrace.studies.study import StudyError

SECRET = "can@ry:/1"
URL = f"postgresql+psycopg://user:{SECRET}@host:5432/db"
STUDY = 'name = "s"\n[data]\ntrain = "t.tsv"\n'
FILES = {
    "a list": f'{STUDY}[search]\nstorage = ["{URL}"]\n',
    "a whole section": f'search = "{URL}"\n{STUDY}',
    "another key": f'{STUDY}[search]\nsampler = "{URL}"\n',
    "a name": STUDY.replace('"s"', f'"{URL}"'),
    "a path": STUDY.replace("t.tsv", URL),
    "a prior": f'{STUDY}[search]\nprior = ["{URL}"]\n',
    "a key": f'{STUDY}[search]\n"{URL}" = 1\n',
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_refused_study_file_shows_no_password(tmp_path: Path, text: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(StudyError) as caught:
        load(file)

    assert SECRET not in str(caught.value)
    assert SECRET.replace("@", "") not in str(caught.value)
    assert "ry:/1" not in str(caught.value)


@pytest.mark.parametrize("given", [URL, f"{URL}=1", f"search={URL}", f"data.train={URL}"])
def test_a_refused_override_shows_no_password(tmp_path: Path, given: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(STUDY, encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        load(file, [given])
    assert "ry:/1" not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("postgresql://u:a@b@host/db", "postgresql://u:***@host/db"),
        ("/home/x/postgresql:/u:pw@h", "/home/x/postgresql:/u:***@h"),
        ("host=h password=pw user=u", "host=h password=*** user=u"),
        ("postgresql://u@h/d?sslpassword=pw&x=1", "postgresql://u@h/d?sslpassword=***&x=1"),
        ("postgresql://USER@HOST:5432/DB", "postgresql://USER@HOST:5432/DB"),
        ("file.toml: lr: 1e9 at 10:30", "file.toml: lr: 1e9 at 10:30"),
    ],
)
def test_a_message_hides_passwords_and_nothing_else(told: str, shown: str) -> None:
    assert str(FoldraceError(told)) == shown


def test_a_password_on_the_command_line_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").touch()
    file = tmp_path / "s.toml"
    file.write_text(STUDY, encoding="utf-8")
    app = typer.Typer()

    @app.command()
    def look(given: str) -> None:
        load_study(str(file), [given])

    runner = CliRunner()
    warned = runner.invoke(app, [f"search.storage={URL}"]).output
    assert "other users of this machine see the password" in warned
    assert "ry:/1" not in warned
    assert runner.invoke(app, ["search.storage=postgresql+psycopg://u@h/d"]).output == ""


def test_a_value_of_ten_megabytes_is_shown_in_part() -> None:
    told = str(FoldraceError("name: expected letters, found " + "://x:" * 2_000_000))

    assert told.startswith("name: expected letters, found ://x:")
    assert len(told) < 5000
