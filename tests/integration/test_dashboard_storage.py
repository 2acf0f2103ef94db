"""The dashboard's storage beside Optuna's own, on either database."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial
from optuna_dashboard import save_note

from foldrace.search.dashboard.storage import MAX_DRAWN_TRIALS, DashboardStorage, StudyDetailPlugin
from foldrace.search.study_store import open_study
from foldrace.search.trials.claims import Trials
from foldrace.storage.database import Database
from foldrace.studies.study import Study
from tests.support.records import record_at

LONG = "0123456789" * 500  # stored in three parts


@pytest.fixture
def study(database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials]) -> Study:
    """One trial complete, one pruned, one failed, one that runs, one that waits."""
    study = make_study(trials=5)
    open_study(database, study)
    trials = trials_of(study)
    for end in (lambda c: c.finish(0.7), lambda c: c.prune("it was behind"), lambda c: c.fail("it broke"), None):
        claim = trials.claim()
        assert claim is not None
        claim.report(0, 0.5, record_at(0, 0.5))
        claim.set_attr("worker", "me")
        if end is not None:
            end(claim)
    return study


def own(database: Database) -> list[FrozenTrial]:
    """The trials as Optuna reads them, less the records of evaluations."""
    trials = database.storage.get_all_trials(1)
    for trial in trials:
        trial.user_attrs = {key: value for key, value in trial.user_attrs.items() if not key.startswith("fold")}
    return trials


def test_the_trials_are_those_of_optuna_without_the_records_of_evaluations(database: Database, study: Study) -> None:
    storage = DashboardStorage(database)
    assert storage.get_all_trials(1) == own(database)
    assert [trial.state.name for trial in storage.get_all_trials(1)] == [
        "COMPLETE",
        "PRUNED",
        "FAIL",
        "RUNNING",
        "WAITING",
    ]
    assert storage.get_all_trials(1)[0].user_attrs["worker"] == "me"
    assert storage.get_best_trial(1).number == 0


def test_times_are_those_of_optuna_in_any_time_zone(
    database: Database, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    storage = DashboardStorage(database)
    try:
        seen = [storage.get_all_trials(1) for _ in range(2)]
        expected = own(database)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert seen == [expected, expected]


def test_what_changes_is_seen(database: Database, study: Study, trials_of: Callable[..., Trials]) -> None:
    storage = DashboardStorage(database)
    storage.get_all_trials(1)
    claim = trials_of(study).claim()
    assert claim is not None
    claim.finish(0.9)
    assert storage.get_all_trials(1) == own(database)
    assert storage.get_best_trial(1).number == claim.number


def test_the_trials_of_a_deleted_study_are_forgotten(
    database: Database, study: Study, trials_of: Callable[..., Trials]
) -> None:
    storage = DashboardStorage(database)
    storage.get_all_trials(1)
    database.storage.delete_study(1)
    open_study(database, study)
    study_id = database.storage.get_study_id_from_name(study.name)  # SQLite gives the old ids again
    assert {trial.state.name for trial in storage.get_all_trials(study_id)} == {"WAITING"}


def test_a_study_without_a_complete_trial_has_no_best(database: Database, make_study: Callable[..., Study]) -> None:
    open_study(database, make_study())
    with pytest.raises(ValueError, match="No trials are completed"):
        DashboardStorage(database).get_best_trial(1)


def test_the_studies_are_those_of_optuna_without_the_notes_of_trials_and_the_text_of_files(
    database: Database, study: Study
) -> None:
    save_note(optuna.load_study(study_name=study.name, storage=database.storage), "of the study")
    (before,) = database.storage.get_all_studies()
    save_note(running(database), "of a trial")
    (storage,) = DashboardStorage(database).get_all_studies()
    shown = {key: value for key, value in before.user_attrs.items() if key not in ("identity", "toml")}
    assert len(shown) == len(before.user_attrs) - 2
    assert vars(storage) == vars(before) | {"user_attrs": shown}


def test_the_notes_are_put_where_they_belong(database: Database, study: Study) -> None:
    save_note(running(database), LONG)
    trials = {trial["number"]: trial for trial in completed(database)["trials"]}
    assert trials[3]["note"] == {"version": 1, "body": LONG}
    assert trials[2]["note"] == {"version": 0, "body": ""}


@pytest.mark.parametrize(("newest", "drawn"), [(MAX_DRAWN_TRIALS - 1, True), (MAX_DRAWN_TRIALS, False)])
def test_the_reports_of_very_many_trials_are_not_drawn(
    database: Database, study: Study, newest: int, drawn: bool
) -> None:
    assert completed(database, newest)["has_intermediate_values"] == drawn


def running(database: Database) -> optuna.trial.Trial:
    stored = optuna.load_study(study_name="small", storage=database.storage)
    return optuna.trial.Trial(stored, stored.get_trials(deepcopy=False)[3]._trial_id)


def completed(database: Database, newest: int = 4) -> Any:
    """What the dashboard answers about the study, once the plugin has completed it."""

    def answer(study_id: int) -> Any:
        nothing = {"version": 0, "body": ""}
        trials = [
            {"number": t.number, "trial_id": t._trial_id, "note": nothing}
            for t in database.storage.get_all_trials(study_id)[:4]
        ]
        last = trials[-1] | {"number": newest}
        return {"trials": [*trials, last], "best_trials": [], "has_intermediate_values": True}

    route = SimpleNamespace(method="GET", rule="/api/studies/<study_id:int>")
    return StudyDetailPlugin(DashboardStorage(database)).apply(answer, route)(study_id=1)


@pytest.mark.parametrize("attrs", [{}, {"identity": "x"}, {"identity": {}, "toml": ""}])
@pytest.mark.parametrize("directions", [["minimize"], ["minimize", "maximize"], ["maximize", "minimize"]])
def test_a_study_of_another_program_is_shown_as_optuna_shows_it(
    database: Database, directions: list[Any], attrs: dict[str, Any]
) -> None:
    """Also where it has attributes of the names that foldrace uses."""
    other = optuna.create_study(storage=database.storage, study_name="other", directions=directions)
    for key, value in attrs.items():
        other.set_user_attr(key, value)
    for value in (3.0, 1.0, 2.0):
        other.tell(other.ask(), [value] * len(directions))

    shown = DashboardStorage(database)

    (study,) = shown.get_all_studies()
    assert [direction.name.lower() for direction in study.directions] == directions
    assert [trial.values for trial in shown.get_all_trials(study._study_id)] == [t.values for t in other.trials]
    if directions == ["minimize"]:
        assert shown.get_best_trial(study._study_id).value == 1.0
