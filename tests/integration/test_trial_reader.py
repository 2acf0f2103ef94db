"""Trials are read as Optuna reads them, whole or with what a sampler needs, on either database."""

import math
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from foldrace.search import trial_reader
from foldrace.search.study_store import open_study
from foldrace.search.trial_reader import TrialReader
from foldrace.search.trials.claims import Trials
from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.studies.study import Study
from tests.support.claims import must_claim
from tests.support.records import record_at


@pytest.fixture
def study_id(database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials]) -> int:
    """One trial complete with an infinite value, one pruned, one failed, one that runs, one that waits."""
    study = make_study(trials=5)
    open_study(database, study)
    claims = [must_claim(trials_of(study)) for _ in range(4)]
    for claim in claims:
        claim.report(0, math.nan, record_at(0, 0.4))
        claim.report(0, 0.5, record_at(1, 0.5))
    claims[0].set_attr("worker", "me")
    database.storage.set_trial_state_values(1, TrialState.COMPLETE, [math.inf])
    claims[1].prune("it was behind")
    claims[2].fail("it broke")
    return 1


def read(database: Database, study_id: int, *, in_full: bool) -> list[FrozenTrial]:
    of_study = tables.trials.c.study_id == study_id

    def work(connection: sa.Connection) -> list[FrozenTrial]:
        rows = connection.execute(sa.select(tables.trials).where(of_study).order_by(tables.trials.c.number)).all()
        return list(TrialReader(in_full=in_full).read(connection, rows, of_study).values())

    return database.read(work)


def without_records(trial: FrozenTrial) -> dict[str, object]:
    return {key: value for key, value in trial.user_attrs.items() if not key.startswith("fold")}


@pytest.mark.parametrize("few", [1, 500])  # the trials are selected by their study, or by their ids
def test_a_full_trial_is_that_of_optuna_without_the_records_of_evaluations(
    database: Database, study_id: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_reader, "_FEW", few)
    expected = database.storage.get_all_trials(study_id)
    for trial in expected:
        trial.user_attrs = without_records(trial)

    found = read(database, study_id, in_full=True)

    assert [repr(trial) for trial in found] == [repr(trial) for trial in expected]  # NaN is not equal to itself


def test_a_sampler_reads_no_attributes_and_the_last_report_of_one_that_is_pruned_or_runs(
    database: Database, study_id: int
) -> None:
    found = read(database, study_id, in_full=False)

    assert [(trial.params, trial.value) for trial in found] == [
        (trial.params, trial.value) for trial in database.storage.get_all_trials(study_id)
    ]
    assert [trial.intermediate_values for trial in found] == [{}, {1: 0.5}, {}, {1: 0.5}, {}]
    assert not any(trial.user_attrs or trial.system_attrs for trial in found)
