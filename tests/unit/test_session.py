from collections.abc import Callable
from pathlib import Path

import pytest

from foldrace.search.session import open_session
from foldrace.studies.durations import parse_duration
from foldrace.studies.study import Study


def test_the_database_is_a_file_in_the_workspace_whatever_its_folder_is_called(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    root = tmp_path / "a?b %41 #c"

    with open_session(make_study(), root):
        assert (root / "small/study.db").is_file()


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("90m", 5400), ("11h", 39600), ("1h30m", 5400), ("0.5h", 1800), (" 2H ", 7200)]
)
def test_a_duration_is_read_in_seconds(text: str, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "11", "h", "1d", "1h30", "-1h", "1..5h", "0s"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_duration(text)
