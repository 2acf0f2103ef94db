from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from foldrace.search.session import begin_session, open_session
from foldrace.search.study_store import open_study, study_exists
from foldrace.search.workers.command import work_on
from foldrace.studies.durations import parse_duration
from foldrace.studies.study import Study, StudyError


def test_the_database_is_a_file_in_the_workspace_whatever_its_folder_is_called(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    root = tmp_path / "a?b %41 #c"

    with open_session(make_study(), root):
        assert (root / "small/study.db").is_file()


def begin(study: Study, root: Path, *, made: bool = False, refused: bool = True) -> None:
    """Begin a study, which is refused before or after it was made."""
    with suppress(StudyError), open_session(study, root) as session:
        if made:
            open_study(session.database, study)
        if refused:
            raise StudyError("refused")


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_database_that_is_made_for_what_is_refused_does_not_stay(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    root, shared = tmp_path / "runs", make_study(storage=f"sqlite:///{tmp_path}/shared.db")
    before = files_in(tmp_path)

    begin(make_study(), root)
    begin(shared, root)
    assert files_in(tmp_path) == before

    begin(make_study(), root, made=True)
    begin(shared, root, refused=False)
    begin(shared, root)  # it was there before
    assert files_in(tmp_path) == sorted([*before, "shared.db", "shared.db.lock", "study.db", "study.db.lock"])


def test_the_folder_of_a_run_that_is_refused_stays_where_it_was_begun_or_others_use_it(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path}/shared.db"
    begun, used, was_there, unused = (make_study(name, storage=storage) for name in ("begun", "used", "there", "un"))
    opened = make_study("opened")
    (tmp_path / "runs/there").mkdir(parents=True)
    for study in (begun, used, was_there, unused, opened):
        with suppress(StudyError), ExitStack() as other, begin_session(study, tmp_path / "runs") as session:
            (session.workspace.folder / "logs").mkdir(parents=True)
            if study is begun:
                open_study(session.database, study)
            if study is used:
                other.enter_context(work_on(session, None))
            if study is opened:
                other.enter_context(open_session(study, tmp_path / "runs"))
            raise StudyError("refused")

    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir()) == ["begun", "opened", "there", "used"]


def test_the_folder_of_a_refused_run_stays_where_others_came_meanwhile(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    """As a worker that reads its data, or `submit`; their database lies elsewhere."""
    storage, reads = f"sqlite:///{tmp_path}/shared.db", {"reading": True, "submitted": False}
    for name, is_reading in reads.items():
        study = make_study(name, storage=storage)
        with suppress(StudyError), ExitStack() as other, begin_session(study, tmp_path / "runs") as session:
            if is_reading:
                other.enter_context(session.workspace.lock("data"))
                stays = other.pop_all()
            else:
                (session.workspace.folder / "slurm").mkdir(parents=True)
            raise StudyError("refused")
    stays.close()

    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir()) == ["reading", "submitted"]


def test_a_database_that_somebody_else_has_open_stays(make_study: Callable[..., Study], tmp_path: Path) -> None:
    study = make_study(storage=f"sqlite:///{tmp_path}/shared.db")

    with ExitStack() as other, suppress(StudyError), open_session(study, tmp_path):
        session = other.enter_context(open_session(study, tmp_path))
        other.callback(open_study, session.database, study)
        raise StudyError("refused")

    with open_session(study, tmp_path, create=False) as session:
        assert study_exists(session.database, study.name)


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("90m", 5400), ("11h", 39600), ("1h30m", 5400), ("0.5h", 1800), (" 2H ", 7200)]
)
def test_a_duration_is_read_in_seconds(text: str, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "11", "h", "1d", "1h30", "-1h", "1..5h", "0s"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_duration(text)
