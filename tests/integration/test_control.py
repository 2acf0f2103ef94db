"""What `pause`, `resume` and `stop` ask of the workers of a run, and that they ask nothing where all has ended."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.study import StudyDirection

from foldrace.search.cli.control import pause, resume, stop
from foldrace.search.session import Session, open_session
from foldrace.search.study_store import FinalFold, open_study, public_toml, queue_folds
from foldrace.storage import tables
from foldrace.storage.workers import begun_studies, read_control
from foldrace.studies.study import Study

MakeStudy = Callable[..., Study]


@pytest.fixture
def ended(make_study: MakeStudy, tmp_path: Path) -> Iterator[Session]:
    """A search whose trials have all ended."""
    study = make_study(baseline={"gamma": 0.5, "epochs": 9})
    with open_session(study, tmp_path) as session:
        session.workspace.study_file.write_text(public_toml(study), encoding="utf-8")
        open_study(session.database, study)
        every_trial = sa.update(tables.trials).values(state="COMPLETE")
        session.database.transact(lambda connection: connection.execute(every_trial))
        yield session


def asked(session: Session) -> set[str]:
    """What was asked of the search and of the jobs beside it."""
    ids = range(1, 1 + len(begun_studies(session.database, session.study.name)))
    return {session.database.read(lambda c, one=one: read_control(c, one)) for one in ids}  # type: ignore[misc]


@pytest.mark.parametrize("command", [pause, resume, stop])
def test_a_search_that_has_ended_is_told_so_and_asked_for_nothing(
    command: Callable[..., None], ended: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("small", workspace=tmp_path)

    assert capsys.readouterr().out == f"small: has ended; nothing is left to {command.__name__}\n"
    assert asked(ended) == {"running"}


def test_a_study_of_another_program_beside_it_is_no_job(
    ended: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended.database.storage.create_new_study([StudyDirection.MAXIMIZE], "small/mine")

    stop("small", workspace=tmp_path)

    assert capsys.readouterr().out == "small: has ended; nothing is left to stop\n"


def test_a_final_job_that_runs_is_stopped_though_its_search_has_ended(
    ended: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue_folds(ended.database, ended.study.with_fixed({"gamma": 0.5, "epochs": 9}), [FinalFold(0, 77)])

    stop("small", workspace=tmp_path)

    assert capsys.readouterr().out.startswith("small: stopping: ")
    assert asked(ended) == {"stopping"}
