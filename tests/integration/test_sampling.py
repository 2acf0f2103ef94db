"""What a new trial's knobs are sampled from, read back from a database."""

from collections.abc import Callable

import numpy as np
import pytest

from foldrace.search.race.learning_curves import read_learning_curves
from foldrace.search.race.space import make_search_space
from foldrace.search.sampler.curves import StoredCurves
from foldrace.search.sampler.history import History
from foldrace.search.sampler.sampling import make_sampler
from foldrace.search.study_store import open_study
from foldrace.search.trials.claims import Claim, Trials
from foldrace.storage.database import Database
from foldrace.studies.settings import Choices
from foldrace.studies.study import Study
from tests.support.records import record_at

View = Callable[..., Trials]
MakeStudy = Callable[..., Study]


def begin(trials: Trials) -> Claim:
    claim = trials.claim()
    assert claim is not None
    return claim


def run_some(trials: Trials, study: Study, count: int) -> Claim:
    """So many trials: the even ones are complete, of the odd ones the first fold is seen; and one that runs."""
    evaluations = study.defaults.evaluations
    for number in range(count):
        claim = begin(trials)
        folds = 1 if number % 2 else study.folds.count
        for fold in range(folds):
            for index in range(evaluations):
                claim.report(fold, 0.5, record_at(index, 0.5 + number / 100 + index / 200))
        claim.prune("no better") if number % 2 else claim.finish(0.5 + number / 100)
    running = begin(trials)
    running.report(0, 0.5, record_at(0, 0.5))
    return running


def test_curves_are_those_that_were_reported(database: Database, make_study: MakeStudy, trials_of: View) -> None:
    study = make_study(trials=6)
    open_study(database, study)
    running = run_some(trials_of(study), study, 4)
    folds, evaluations = study.folds.count, study.defaults.evaluations
    history, curves = History(database, 1), StoredCurves(database, folds, evaluations)
    history.refresh()

    found = curves.read(history.get_all_trials(0))

    whole = [read_learning_curves(t, folds, evaluations) for t in database.storage.get_all_trials(1)[:5]]
    assert [one.number for one in found] == [0, 1, 2, 3, running.number]
    assert all(np.array_equal(a.best, b.best, equal_nan=True) for a, b in zip(found, whole, strict=True))
    assert found[0].is_complete
    assert (found[1].folds_done, found[4].folds_done) == (1, 0)


def test_curves_of_a_trial_that_runs_are_read_again(database: Database, make_study: MakeStudy, trials_of: View) -> None:
    study = make_study(trials=3)
    open_study(database, study)
    running = run_some(trials_of(study), study, 2)
    history = History(database, 1)
    curves = StoredCurves(database, study.folds.count, study.defaults.evaluations)
    history.refresh()
    before = curves.read(history.get_all_trials(0))

    running.report(0, 0.6, record_at(1, 0.6))
    after = curves.read(history.get_all_trials(0))

    assert [old is new for old, new in zip(before, after, strict=True)] == [True, True, False]
    assert np.isfinite(after[2].best).sum() == np.isfinite(before[2].best).sum() + 1
    assert all(old is new for old, new in zip(after, curves.read(history.get_all_trials(0)), strict=True))


def test_what_is_believed_is_computed_anew_when_a_trial_has_shown_more(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    study = make_study(trials=4)
    open_study(database, study)
    running = run_some(trials_of(study), study, 3)
    sampler, space = make_sampler(database, 1, study), make_search_space(study.searched)

    first, same = sampler.believe(space), sampler.believe(space)
    running.report(0, 0.6, record_at(1, 0.6))
    later = sampler.believe(space)

    assert first is not None
    assert same is not None
    assert later is not None
    assert first.readings is same.readings
    assert first.readings is not later.readings


def test_a_configuration_that_failed_is_not_tried_again(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    knobs = {"gamma": Choices(choices=(0.5, 0.7, 0.9)), "dropout": Choices(choices=(0.0, 0.1, 0.2, 0.3))}
    study = make_study(trials=11, order="trials").model_copy(update={"training": knobs})
    open_study(database, study)
    trials = trials_of(study)

    tried = []
    for _ in range(11):
        claim = begin(trials)
        tried.append(tuple(claim.sampled.values()))
        gamma = float(claim.sampled["gamma"])
        if gamma == 0.9:
            claim.fail("broken")
            continue
        for fold in range(study.folds.count):
            for index in range(study.defaults.evaluations):
                claim.report(fold, 0.5, record_at(index, gamma + fold / 1000))
        claim.finish(gamma)

    assert len(set(tried)) == 11


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_every_worker_samples_the_same_for_a_trial(
    sampler: str, database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    study = make_study(trials=9)
    study = study.model_copy(update={"search": study.search.model_copy(update={"sampler": sampler})})
    open_study(database, study)
    worker = make_sampler(database, 1, study)
    space, waiting = make_search_space(study.searched), database.storage.get_all_trials(1)[8]
    worker.sample(waiting, space)  # it has seen an earlier state of the study
    run_some(trials_of(study), study, 7)

    assert worker.sample(waiting, space) == make_sampler(database, 1, study).sample(waiting, space)
    assert worker.sample(waiting, space).values.keys() == space.keys()


def test_a_study_samples_by_the_process_unless_it_names_another(make_study: MakeStudy) -> None:
    assert make_study().search.sampler == "gp"
    assert "sampler" not in make_study().to_toml()
