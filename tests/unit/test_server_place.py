"""What lies in the folder of a workspace's server, as somebody else may have left it."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from foldrace.storage.errors import StorageError
from foldrace.storage.server import data_folder
from foldrace.storage.server.data_folder import make_data, refuse_special
from foldrace.storage.server.lifecycle import ServerOptions, start_server
from foldrace.storage.server.place import Address, ServerPlace
from foldrace.storage.server.programs import Programs

HERE = Address("127.0.0.1", 5432, "here", "/data")
NO_PROGRAMS = Programs(Path("/nowhere"), 17)


@pytest.fixture
def place(tmp_path: Path) -> ServerPlace:
    place = ServerPlace(tmp_path)
    place.folder.mkdir()
    return place


@pytest.mark.parametrize(
    "changed",
    [
        {"port": "x"},
        {"port": -5},
        {"port": 2**70},
        {"data": ["x"]},
        {"machine": "\x1b[31m\nx"},
        {"listens": "127.0.0.1 -c archive_mode=on"},
        {"listens": "127.0.0.1;$(touch x)"},
        {"more": 1},
    ],
    ids=str,
)
def test_an_address_that_is_none_is_refused_in_a_line(place: ServerPlace, changed: dict[str, Any]) -> None:
    (place.folder / "address.json").write_text(json.dumps(asdict(HERE) | changed))

    with pytest.raises(StorageError, match=r"address\.json: not what foldrace wrote"):
        place.find()


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "", "\x00"], ids=["deep", "null", "empty", "NUL"])
def test_text_that_is_no_address_is_refused_in_a_line(place: ServerPlace, text: str) -> None:
    (place.folder / "address.json").write_text(text)

    with pytest.raises(StorageError, match=r"address\.json: not what foldrace wrote"):
        place.find()


def test_a_password_that_somebody_else_may_know_is_refused(place: ServerPlace, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("known")
    password = place.folder / "password"
    for plant in (
        lambda: password.symlink_to(tmp_path / "theirs"),
        lambda: password.symlink_to(tmp_path / "missing"),
        lambda: password.write_text("known"),
        lambda: password.mkdir(),
    ):
        plant()
        with pytest.raises(StorageError, match="password: others may know it"):
            place.make_password()
        password.rmdir() if password.is_dir() else password.unlink()
    assert place.make_password().read_text() != "known"
    assert place.make_password() == password  # our own stays
    assert not (tmp_path / "missing").exists()


def test_a_password_is_never_written_through_a_link(
    place: ServerPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.folder / "password.partial").symlink_to(tmp_path / "theirs")
    told = []

    def initialise(folder: Path, password: Path, _: Programs) -> None:
        told.append((password.is_symlink(), password.stat().st_mode & 0o777, list(folder.iterdir())))

    monkeypatch.setattr(data_folder, "_initialise", initialise)

    make_data(place.folder / "data", place.make_password(), NO_PROGRAMS)

    assert told == [(False, 0o600, [])]
    assert not (tmp_path / "theirs").exists()


def test_a_server_is_not_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / ".database").symlink_to(tmp_path / "outside")

    with pytest.raises(StorageError, match=r"\.database: a link, which is not followed; --data names"):
        start_server(tmp_path)
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("name", ["$(touch x)", "`touch x`", '"; touch x; "', "a\\", "a\nb"])
def test_a_path_that_means_something_to_a_shell_is_refused(name: str) -> None:
    with pytest.raises(StorageError, match="PostgreSQL takes no path with"):
        refuse_special(Path("/runs", name))


@pytest.mark.parametrize("host", ["127.0.0.1 -c x=y", "$(id)", "", "a\nb"])
def test_a_host_is_a_name_or_an_address(tmp_path: Path, host: str) -> None:
    with pytest.raises(StorageError):
        start_server(tmp_path, ServerOptions(host=host or " "))
    assert replace(HERE, listens="*").host == "here"
