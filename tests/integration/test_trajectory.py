"""What is drawn of a search is read from the study, pruned trials too."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna

from foldrace.search.dashboard.pages import ImportancesPlugin
from foldrace.search.recording.trajectory import load_trajectory
from foldrace.search.study_store import open_study
from foldrace.search.trials.claims import Trials
from foldrace.storage.database import Database
from foldrace.studies.study import Study
from tests.support.records import record_at


def test_a_knob_whose_bad_values_were_all_pruned_matters(
    database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials]
) -> None:
    study, random = make_study(trials=24), np.random.default_rng(0)
    open_study(database, study)
    for _ in range(24):
        claim = trials_of(study).claim()
        assert claim is not None
        gamma, epochs = float(claim.sampled["gamma"]), float(claim.sampled["epochs"])
        level = (0.7 if gamma > 0.8 else 0.3) + 0.001 * epochs + 0.002 * random.standard_normal()
        for fold in range(5 if gamma > 0.8 else 1):
            for index in range(8):
                claim.report(fold, level, record_at(index, level * (index + 8) / 15))
        if gamma > 0.8:
            claim.finish(level)
        else:
            claim.prune("too low")

    importances = load_trajectory(database, study).importances

    assert importances["gamma"] > 0.8
    assert importances == {shown["name"]: shown["importance"] for shown in importances_in_dashboard(database, 1)}


def importances_in_dashboard(database: Database, study_id: int) -> list[Any]:
    route = SimpleNamespace(method="GET", rule="/api/studies/<study_id:int>/param_importances")
    answer = ImportancesPlugin(database).apply(lambda study_id: {"param_importances": [["its own"]]}, route)
    found: list[Any] = answer(study_id=study_id)["param_importances"][0]
    return found


def test_a_study_that_foldrace_did_not_make_keeps_the_importances_of_the_dashboard(database: Database) -> None:
    optuna.create_study(study_name="of others", storage=database.storage)

    assert importances_in_dashboard(database, 1) == ["its own"]


def test_too_few_trials_have_no_importances(database: Database, make_study: Callable[..., Study]) -> None:
    open_study(database, make_study(trials=3))

    assert importances_in_dashboard(database, 1) == []
