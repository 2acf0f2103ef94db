"""The best trial is the same one for every reader of a study, on either database."""

import math
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from foldrace.search.assessment.reader import read_scores
from foldrace.search.dashboard.storage import DashboardStorage
from foldrace.search.ensemble.export import ExportError, select_trial
from foldrace.search.monitor.lines import status_lines
from foldrace.search.monitor.status_reader import read_status, with_assessment
from foldrace.search.recording.trajectory import load_trajectory
from foldrace.search.session import Session
from foldrace.search.study_store import open_study
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import Trials
from foldrace.storage.database import Database
from foldrace.storage.workspace import Workspace
from foldrace.studies.study import Study
from tests.support.records import record_at

Ask = Callable[[Session], int]

READERS: dict[str, Ask] = {
    "status": lambda session: read_status(session.database, "small").best.number,  # type: ignore[union-attr]
    "dashboard": lambda session: DashboardStorage(session.database).get_best_trial(1).number,
    "trajectory": lambda session: load_trajectory(session.database, session.study).incumbent.number,  # type: ignore[union-attr]
}


@pytest.fixture
def session(
    database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials], tmp_path: Path
) -> Session:
    """Trials 1 and 2 are equal and best; 3 was pruned above them; 4 has an infinite value, written by somebody else."""
    study = make_study(trials=5)
    open_study(database, study)
    trials = trials_of(study)
    claims = [judged_at(trials, best, study.folds.count) for best in (0.6, 0.8, 0.8, 0.9, 0.9)]
    for claim in claims[:3]:
        claim.finish(claim.evaluations[0, 7].best)
    claims[3].prune("too low")
    set_infinite(database, claims[4].number)
    return Session(study, Workspace(tmp_path, study.name), database)


def judged_at(trials: Trials, best: float, folds: int) -> Claim:
    """A claimed trial with one evaluation at the end of each fold."""
    claim = trials.claim()
    assert claim is not None
    for fold in range(folds):
        claim.report(fold, best, record_at(7, best))
    return claim


def set_infinite(database: Database, number: int) -> None:
    """What another program does that tells Optuna a value of a trial."""
    database.storage.set_trial_state_values(
        database.storage.get_trial_id_from_study_id_trial_number(1, number), TrialState.COMPLETE, [math.inf]
    )


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_names_the_first_of_equal_trials_and_none_that_is_infinite(session: Session, reader: str) -> None:
    assert READERS[reader](session) == 1


def test_of_equal_trials_export_takes_the_one_whose_neighbours_are_better(session: Session) -> None:
    taken = select_trial(session.database, session.study).number

    belief = read_scores(session.database, session.study.name).belief
    assert belief is not None
    assert taken == max((1, 2), key=lambda number: belief.level(number).mean)


@pytest.fixture
def foreign(session: Session) -> Session:
    """The same study, with a better trial that another program added without any evaluation."""
    stored = optuna.load_study(study_name=session.study.name, storage=session.database.storage)
    stored.add_trial(create_trial(value=0.95))
    return session


def test_a_trial_that_another_program_completed_is_not_exported(foreign: Session) -> None:
    with pytest.raises(ExportError, match="trial 5 was added by hand, and cannot be exported: it has no gamma"):
        select_trial(foreign.database, foreign.study)


def test_a_trial_that_another_program_completed_is_the_incumbent_without_a_gap(foreign: Session) -> None:
    trajectory = load_trajectory(foreign.database, foreign.study)

    assert trajectory.incumbent is not None
    assert trajectory.incumbent.number == 5
    assert trajectory.gap_curves == ()


def test_status_names_the_trial_that_export_takes_where_the_best_was_added_by_hand(session: Session) -> None:
    distributions: dict[str, BaseDistribution] = {
        "gamma": FloatDistribution(0.4, 1.0),
        "epochs": IntDistribution(5, 40),
    }
    added = create_trial(value=0.95, params={"gamma": 0.5, "epochs": 9}, distributions=distributions)
    optuna.load_study(study_name=session.study.name, storage=session.database.storage).add_trial(added)

    taken = select_trial(session.database, session.study).number

    status = with_assessment(session.database, read_status(session.database, session.study.name))
    assert status.assessment is not None
    leader = f"leader    trial {status.assessment.trial} by all that is known; `foldrace export` takes trial {taken}"
    assert leader in status_lines(status)
    assert taken == 5
