"""What a study has spent is counted from its reports, whatever way its epochs were given."""

from collections.abc import Callable, Iterable

import pytest

from foldrace.search.compute import FoldEpochs, TrialCompute, read_compute, total_fold_epochs
from foldrace.search.recording.trajectory import load_trajectory
from foldrace.search.study_store import FinalFold, open_study, queue_folds
from foldrace.search.trials.claims import Trials, TrialsSettings
from foldrace.storage.database import Database
from foldrace.storage.optuna_rows import find_study_id
from foldrace.studies.settings import Choices
from foldrace.studies.study import Study
from tests.support.records import record_at

CELLS = 5 * 8  # folds and evaluations of a whole trial


def compute_of(database: Database, study: Study, name: str) -> list[TrialCompute]:
    return database.read(lambda connection: read_compute(connection, find_study_id(connection, name), study))


def prune_after(reported: Iterable[int], database: Database, study: Study, trials_of: Callable[..., Trials]) -> None:
    """One trial, pruned after these evaluations of its first fold."""
    open_study(database, study)
    claim = trials_of(study).claim()
    assert claim is not None
    for index in reported:
        claim.report(0, 0.5, record_at(index, 0.5))
    claim.prune("too low")


def test_a_pruned_trial_saves_what_it_did_not_run(
    database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials]
) -> None:
    study = make_study(trials=1, baseline={"epochs": 16})
    prune_after(range(4), database, study, trials_of)

    spent = total_fold_epochs(compute_of(database, study, study.name), study)

    assert spent.spent == pytest.approx(4 * 16 / 8)
    assert spent.saved == pytest.approx((CELLS - 4) * 16 / 8)


def test_a_fold_of_few_steps_costs_what_any_other_does(
    database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials]
) -> None:
    study = make_study(trials=1, baseline={"epochs": 16})
    prune_after((1, 3, 5, 7), database, study, trials_of)

    trajectory = load_trajectory(database, study)

    assert trajectory.fold_epochs == FoldEpochs(spent=16, saved=4 * 16)
    assert trajectory.steps[-1].spent == 16


@pytest.mark.parametrize(("setting", "epochs"), [(Choices(choices=(7, 9)), 9), (12, 12)])
def test_epochs_may_be_searched_over_choices_or_fixed(
    database: Database,
    make_study: Callable[..., Study],
    trials_of: Callable[..., Trials],
    setting: Choices | int,
    epochs: int,
) -> None:
    study = make_study(trials=1)
    baseline = ({"epochs": 9},) if isinstance(setting, Choices) else ()
    search = study.search.model_copy(update={"baseline": baseline})
    study = study.model_copy(update={"training": {**study.training, "epochs": setting}, "search": search})
    open_study(database, study)
    claim = trials_of(study).claim()
    assert claim is not None
    claim.report(0, 0.5, record_at(0, 0.5))

    assert compute_of(database, study, study.name) == [TrialCompute(1, 0, "RUNNING", epochs, epochs / 8)]


def test_a_final_job_spends_the_epochs_of_its_folds(
    database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials]
) -> None:
    study = make_study().with_fixed({"gamma": 0.5, "epochs": 6})
    name = queue_folds(database, study, [FinalFold(fold, 77) for fold in range(8)])
    trials = trials_of(study, TrialsSettings(name))
    for fold in range(8):
        claim = trials.claim()
        assert claim is not None
        for index in range(8):
            claim.report(fold, 0.5, record_at(index, 0.5))
        claim.finish(0.5)

    assert total_fold_epochs(compute_of(database, study, name), study).spent == pytest.approx(8 * 6)
