"""No message shows a password, wherever a user wrote it."""

import logging
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foldrace.errors import FoldraceError, LogFormatter, in_one_line, short_repr
from foldrace.search.cli import main
from foldrace.storage.errors import StorageError
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import load
from foldrace.studies.study import StudyError

SECRET = "can@ry:/1"
URL = f"postgresql+psycopg://user:{SECRET}@host:5432/db"
STUDY = 'name = "s"\n[data]\ntrain = "t.tsv"\n'
WITHOUT_PASSWORD = (
    "docker pull registry:5000/x@sha256:abc",
    "--container-image=docker://registry:5000/me/foldrace@sha256:abc",
    "export https_proxy=http://proxy:3128 && spack load python@3.11",
    "rsync -a login:data/me@x .",
    "C:\\data\\a@b.csv: no such file",
    "sqlite:// is in memory; write postgresql+psycopg://USER@HOST/DATABASE",
)
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
        ("host=h password='a pw' user=u", "host=h password=*** user=u"),
        ("found {'host': 'h', 'password': 'p w'}", "found {'host': 'h', 'password': ***}"),
        ("postgresql://u:a pass word@host/db", "postgresql://u:***@host/db"),
        ("postgresql://me@server:pw@host/db", "postgresql://me@server:***@host/db"),
        ("found 'u:p@w@host/db'", "found 'u:***@host/db'"),
        ("https://token@host/x", "https://***@host/x"),
        ("postgresql://h/d?oauth_client_secret=pw&x=1", "postgresql://h/d?oauth_client_secret=***&x=1"),
        ("postgresql://u@h/d?sslpassword=pw&x=1", "postgresql://u@h/d?sslpassword=***&x=1"),
        ("postgresql://USER@HOST:5432/DB", "postgresql://USER@HOST:5432/DB"),
        ("file.toml: lr: 1e9 at 10:30", "file.toml: lr: 1e9 at 10:30"),
        ("sqlite:////home/a@b/study.db", "sqlite:////home/a@b/study.db"),
        ("search.password: unknown key; known: a", "search.password: unknown key; known: a"),
        *[(text, text) for text in WITHOUT_PASSWORD],
    ],
)
def test_a_message_hides_passwords_and_nothing_else(told: str, shown: str) -> None:
    assert str(FoldraceError(told)) == shown


@pytest.mark.parametrize("text", WITHOUT_PASSWORD)
def test_an_address_without_a_password_may_stand_anywhere(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.tsv").touch()
    file = tmp_path / "s.toml"
    file.write_text(STUDY, encoding="utf-8")

    assert load(file, {"slurm.setup": [text]}).slurm.setup == (text,)


@pytest.mark.parametrize(
    "key", ["search.prior", "search.name", "model.name", "data.exclude_labels", "final.submission"]
)
def test_a_password_where_it_would_be_stored_is_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "t.tsv").touch()
    file = tmp_path / "s.toml"
    file.write_text(STUDY, encoding="utf-8")
    value = [f"{URL}.json"] if key in ("search.prior", "data.exclude_labels") else URL
    with pytest.raises(StudyError) as caught:
        load(file, {key: value})
    assert "ry:/1" not in str(caught.value)
    assert key in str(caught.value)


def test_a_folder_of_runs_that_is_a_url_is_refused() -> None:
    with pytest.raises(
        StorageError, match=r"^postgresql\+psycopg:/user:\*\*\*@host.*: the URL of a database, not a folder"
    ):
        Workspace(Path(URL), "s")


@pytest.mark.parametrize(
    "arguments", [["run", "s.toml", URL], ["run", "s.toml", f"--{URL}"], [URL], [f"--{URL}", "run"], ["list", URL]]
)
def test_a_wrong_command_line_shows_no_password(arguments: list[str]) -> None:
    result = CliRunner().invoke(main.app, arguments)
    assert result.exit_code == 2
    assert "***" in result.output
    assert "ry:/1" not in result.output


@pytest.mark.parametrize("argument", [f"search.storage={URL}", f"--from={URL}", URL, "host=h password=canary"])
def test_a_password_on_the_command_line_is_warned_of(
    argument: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, warnings in (argument, 1), ("search.storage=postgresql+psycopg://u@h:5432/d", 0):
        monkeypatch.setattr(sys, "argv", ["foldrace", "--version", given])
        with pytest.raises(SystemExit):
            main.main()
        told = capsys.readouterr()
        assert told.err.count("other users of this machine see the password") == warnings
        assert "can" not in told.out


def test_what_is_cut_or_logged_shows_no_password() -> None:
    """Also where the cut takes away the @ by which a URL is known."""
    url = f"postgresql://{'u' * 20}:{'canary' * 60}@host/db"
    record = logging.LogRecord("third.party", logging.ERROR, "", 0, "cannot reach %s", (url,), None)
    told = [
        short_repr(url),
        short_repr([{"storage": url}]),
        in_one_line(ValueError(url)),
        LogFormatter().format(record),
    ]
    assert "canary" not in "".join(told)
    assert all("***" in one for one in told[2:])


def test_a_message_is_one_line_that_no_terminal_obeys() -> None:
    assert str(FoldraceError("a\nb\x1b[31m\x9b\u202e관계_없음\t")) == r"a\nb\x1b[31m\x9b\u202e관계_없음\t"


@pytest.mark.parametrize("command", [["status", "x" * 5000], ["list", "--workspace", "x" * 5000]])
def test_a_path_that_no_file_can_have_is_one_line(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["foldrace", *command])
    with pytest.raises(SystemExit) as ended:
        main.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert (ended.value.code, line[:13]) == (2, "foldrace: xxx")


def test_a_value_of_ten_megabytes_is_shown_in_part() -> None:
    told = str(FoldraceError("name: expected letters, found " + "://x:" * 2_000_000))

    assert told.startswith("name: expected letters, found ://x:")
    assert len(told) < 5000
