"""What a study still promises is read from its complete trials."""

from collections.abc import Callable

import pytest

from foldrace.search.race.termination import ExpectedGain, read_expected_gain
from foldrace.search.study_store import open_study
from foldrace.search.trials.claims import Trials
from foldrace.storage.database import Database
from foldrace.storage.optuna_rows import find_study_id
from foldrace.studies.study import Study
from tests.support.records import record_at


def expected_gain_of(study: Study, database: Database) -> ExpectedGain | None:
    return database.read(lambda c: read_expected_gain(c, find_study_id(c, study.name), study))


def test_the_prospect_of_a_study_knows_its_queue_and_the_noise_of_its_folds(
    database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials]
) -> None:
    study = make_study(trials=8)
    open_study(database, study)
    for lead in (0.0, 0.01, 0.02, 0.03, 0.04):
        claim = trials_of(study).claim()
        assert claim is not None
        for fold in range(5):
            claim.report(fold, 0.5, record_at(7, 0.5 + lead + 0.1 * fold))
        claim.finish(0.7 + lead)

    ahead = expected_gain_of(study, database)

    assert ahead is not None
    assert ahead.further == 3
    assert ahead.noise == pytest.approx(0.0, abs=1e-9)  # folds differ, but all trials by the same in each
    assert not ahead.is_below_noise


def test_a_study_with_few_complete_trials_promises_nothing_yet(
    database: Database, make_study: Callable[..., Study]
) -> None:
    study = make_study(trials=8)
    open_study(database, study)

    assert expected_gain_of(study, database) is None
