"""A study that plain Optuna works on too: what it begins is adopted, what it queues is checked, nothing hangs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from foldrace.search.ensemble.export import ExportError, export_trial
from foldrace.search.launch.search import close_search
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.monitor.trial_table import read_trial_table
from foldrace.search.recording.recorder import draw_study
from foldrace.search.reports.search_report import search_report
from foldrace.search.session import Session
from foldrace.search.study_store import FinalFold, open_study, queue_folds
from foldrace.search.trials.claims import Claim, LeaseLost, Trials, TrialsSettings
from foldrace.storage.database import Database
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import load_stored
from foldrace.studies.settings import Choices
from foldrace.studies.study import Study
from tests.support.claims import must_claim
from tests.support.records import record_at

View = Callable[..., Trials]
MakeStudy = Callable[..., Study]

OF_OTHERS = IntDistribution(0, 9)  # epochs as another program searched them


@pytest.fixture
def study(make_study: MakeStudy) -> Study:
    """A study over a range, a range of whole numbers and a choice, with no trial of its own queued but one."""
    made = make_study(trials=1)
    marking = Choices(choices=("none", "concat"))
    return made.model_copy(update={"training": {**made.training, "entity_marking": marking, "lr": 1e-4}})


@pytest.fixture
def stored(database: Database, study: Study) -> optuna.Study:
    """The study as plain Optuna opens it; foldrace's own trial has ended."""
    open_study(database, study)
    return optuna.load_study(study_name=study.name, storage=database.storage)


def claim_in(trials: Trials, now: list[float], seconds: float) -> Claim | None:
    """What a worker gets that looks every ten seconds."""
    for _ in range(int(seconds // 10) + 1):
        if (claim := trials.claim()) is not None:
            return claim
        now[0] += 10
    return None


# Trials that run without a lease


def test_a_trial_that_plain_optuna_began_is_adopted_after_a_lease_time(
    database: Database, study: Study, stored: optuna.Study, trials_of: View, now: list[float]
) -> None:
    must_claim(trials_of(study)).finish(0.5)
    asked = stored.ask({"gamma": FloatDistribution(0.4, 1.0)})
    worker = trials_of(study)

    assert claim_in(worker, now, study.search.lease_seconds - 20) is None
    claim = claim_in(worker, now, 40)

    assert claim is not None
    assert (claim.number, claim.attempt) == (asked.number, 1)
    assert claim.sampled.keys() == {"gamma", "epochs", "entity_marking"}
    assert claim.sampled["gamma"] == asked.params["gamma"]
    claim.finish(0.6)
    assert worker.is_over()


def test_a_trial_that_plain_optuna_ends_meanwhile_is_let_go(
    database: Database, study: Study, stored: optuna.Study, trials_of: View, now: list[float]
) -> None:
    must_claim(trials_of(study)).finish(0.5)
    asked, worker = stored.ask(), trials_of(study)
    assert claim_in(worker, now, 30) is None
    stored.tell(asked, 0.4)

    assert claim_in(worker, now, 90) is None
    assert worker.is_over()


def test_a_copy_of_a_running_study_goes_on_where_it_stood(
    database: Database, study: Study, stored: optuna.Study, trials_of: View, now: list[float]
) -> None:
    running = must_claim(trials_of(study))
    running.report(0, 0.7, record_at(0, 0.7))
    optuna.copy_study(
        from_study_name=study.name, from_storage=database.storage, to_storage=database.storage, to_study_name="copy"
    )
    copy = study.model_copy(update={"name": "copy"})
    assert (read_status(database, "copy").is_final, read_status(database, "copy").study.name) == (False, "copy")
    open_study(database, copy)

    claim = claim_in(trials_of(copy), now, 90)

    assert claim is not None
    assert (claim.sampled, claim.evaluations) == (running.sampled, {(0, 0): record_at(0, 0.7)})
    assert running.beat()  # the original is another worker's still


@pytest.mark.parametrize("is_seen", [False, True])
def test_status_names_a_trial_that_plain_optuna_began(
    is_seen: bool, database: Database, study: Study, stored: optuna.Study, trials_of: View
) -> None:
    must_claim(trials_of(study)).finish(0.5)
    number = stored.ask().number
    if is_seen:
        assert trials_of(study).claim() is None

    (orphan,) = read_status(database, study.name).orphans

    assert (orphan.number, orphan.why) == (
        number,
        "plain Optuna began it, and no worker has it; one adopts it after a lease time",
    )


def test_a_trial_whose_study_is_deleted_is_lost_and_the_worker_may_end(
    database: Database, study: Study, stored: optuna.Study, trials_of: View, tmp_path: Path
) -> None:
    worker = trials_of(study)
    claim = must_claim(worker)
    optuna.delete_study(study_name=study.name, storage=database.storage)

    with pytest.raises(LeaseLost):
        claim.report(0, 0.7, record_at(0, 0.7))
    assert claim.finish(0.7) is False
    assert (worker.claim(), worker.is_over()) == (None, True)
    session = Session(study, Workspace(tmp_path / "runs", study.name), database)
    assert "another program has deleted or renamed it" in str(close_search(session, 0))


# Trials that somebody queued


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"entity_marking": "typed_markers"}, "entity_marking: 'typed_markers' is not one of ['none', 'concat']"),
        ({"gamma": 1.5}, "gamma: Input should be less than or equal to 1, found 1.5"),
        ({"gamma": "0.5"}, "gamma: Input should be a valid number, found '0.5'"),
        ({"gamma": float("nan")}, "gamma: Input should be"),
        ({"gamma": None}, "gamma: Input should be a valid number, found None"),
        ({"epochs": 7.5}, "epochs: Input should be a valid integer, found 7.5"),
        ({"gama": 0.5}, "gama: unknown knob; is gamma meant?"),
        ({"lr": 3e-5}, "lr: the study fixes it at 0.0001, so it cannot be 3e-05"),
        ({"dropout": 7}, "dropout: the study fixes it at 0.1, so it cannot be 7"),
        ({"dropout": 0.3}, "dropout: the study fixes it at 0.1, so it cannot be 0.3"),
        ({"epochs": 0}, "epochs: Input should be greater than or equal to 1, found 0"),
        ({"epochs": True}, "epochs: Input should be a valid integer, found True"),
        ({"gamma": [0.5]}, "gamma: Input should be a valid number, found [0.5]"),
        ({"gamma": 10**400}, "gamma: Input should be a valid number, found 1000"),
        ({"gamma": "x" * 10**6}, "gamma: Input should be a valid number, found 'xxx"),
        ({"lr": "x" * 10**6}, "lr: the study fixes it at 0.0001, so it cannot be 'xxx"),
        ({"entity_marking": "x" * 10**6}, "entity_marking: 'xxx"),
        ({"entity_marking": ["none"]}, "entity_marking: ['none'] is not one of ['none', 'concat']"),
        ({"x" * 10**6: 1}, "'xxx"),
        ({"a\nb\x1b\ud800": 1}, "'a\\nb\\x1b\\ud800': unknown knob; is entity_marking or epochs or gamma meant?"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_no_trial_can_have_fails_it_at_once_and_the_next_one_is_claimed(
    params: dict[str, Any],
    reason: str,
    database: Database,
    study: Study,
    stored: optuna.Study,
    trials_of: View,
    caplog: pytest.LogCaptureFixture,
) -> None:
    must_claim(trials_of(study)).finish(0.5)
    stored.enqueue_trial(params)
    stored.enqueue_trial({"gamma": 0.6})

    claim = must_claim(trials_of(study))

    assert claim.number == 2
    (failure,) = read_status(database, study.name).failures
    assert failure.number == 1
    assert failure.reason.startswith(reason)
    assert len(failure.reason) < 400
    assert failure.reason.isprintable()
    assert failure.reason in str(read_trial_table(database, study.name))
    (line,) = caplog.messages
    assert line == f"trial 1 failed, as nobody can run it: {failure.reason}"


@pytest.mark.parametrize("fixed", [[1], "x", 7])
def test_a_queue_of_no_knobs_fails_its_trial(
    fixed: object, database: Database, study: Study, stored: optuna.Study, trials_of: View
) -> None:
    must_claim(trials_of(study)).finish(0.5)
    waiting = optuna.trial.TrialState.WAITING
    stored.add_trial(optuna.create_trial(state=waiting, system_attrs={"fixed_params": fixed}))

    assert trials_of(study).claim() is None
    (failure,) = read_status(database, study.name).failures
    assert failure.reason == f"fixed_params: expected values by knob, found {fixed!r}"


@pytest.mark.parametrize("params", [{"gamma": 0.1}, {"epochs": 6.0}, {"lr": 1e-4, "gamma": 0.5}])
def test_what_a_knob_can_have_is_run_as_asked(
    params: dict[str, Any], database: Database, study: Study, stored: optuna.Study, trials_of: View
) -> None:
    must_claim(trials_of(study)).finish(0.5)
    stored.enqueue_trial(params)

    claim = must_claim(trials_of(study))

    assert {**claim.sampled, **params} == claim.sampled | {k: v for k, v in params.items() if k == "lr"}
    assert study.hyperparameters(claim.sampled).lr == 1e-4


def test_a_waiting_trial_with_values_that_nobody_can_run_fails(
    database: Database, study: Study, stored: optuna.Study, trials_of: View
) -> None:
    must_claim(trials_of(study)).finish(0.5)
    waiting = optuna.trial.TrialState.WAITING
    stored.add_trial(optuna.create_trial(state=waiting, params={"epochs": 0}, distributions={"epochs": OF_OTHERS}))

    assert trials_of(study).claim() is None
    assert [failure.number for failure in read_status(database, study.name).failures] == [1]


@pytest.mark.parametrize("attrs", [{}, {"fold": 0}, {"fold": 8, "seed": 77}, {"fold": "0", "seed": 77}])
def test_a_trial_that_is_no_fold_of_a_final_job_fails(
    attrs: dict[str, Any], database: Database, study: Study, trials_of: View
) -> None:
    fixed = study.with_fixed({"gamma": 0.5, "epochs": 5, "entity_marking": "none"})
    name = queue_folds(database, fixed, [])
    optuna.load_study(study_name=name, storage=database.storage).enqueue_trial({}, user_attrs=attrs)
    queue_folds(database, fixed, [FinalFold(1, 77)])

    claim = must_claim(trials_of(fixed, TrialsSettings(name=name)))

    assert (claim.number, claim.user_attrs["fold"]) == (1, 1)
    assert "not a fold of this final job" in read_status(database, name).failures[0].reason


# Trials that plain Optuna added


def add(stored: optuna.Study, value: float, state: str = "COMPLETE", **params: Any) -> None:
    """What the documented warm start of Optuna does."""
    distributions: dict[str, Any] = {"gamma": FloatDistribution(0.4, 2.0), "epochs": IntDistribution(1, 99)}
    distributions |= {"entity_marking": CategoricalDistribution(["none", "concat"])}
    ended = optuna.trial.TrialState[state]
    stored.add_trial(
        optuna.create_trial(
            state=ended,
            params=params,
            distributions={knob: d for knob, d in distributions.items() if knob in params},
            value=value if state == "COMPLETE" else None,
        )
    )


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_trial_that_was_added_counts_for_the_sampler(
    sampler: str, database: Database, study: Study, stored: optuna.Study, trials_of: View
) -> None:
    asked = study.model_copy(update={"search": study.search.model_copy(update={"sampler": sampler, "trials": 40})})
    for place in range(30):
        gamma = 0.4 + 0.02 * place
        add(stored, 0.9 - abs(gamma - 0.7), gamma=gamma, epochs=20, entity_marking="none" if place % 2 else "concat")
    add(stored, 0.2, gamma=1.9, epochs=90, entity_marking="none")
    add(stored, 0.95, gamma=0.5)
    for state in ("FAIL", "PRUNED"):
        add(stored, 0.0, state, gamma=0.5, epochs=20, entity_marking="none")
    open_study(database, asked)

    sampled = [float(must_claim(trials_of(asked)).sampled["gamma"]) for _ in range(6)]

    assert sum(abs(gamma - 0.7) < 0.15 for gamma in sampled) >= 4


def test_a_trial_that_was_added_is_named_exported_and_reported(
    database: Database, study: Study, stored: optuna.Study, trials_of: View, tmp_path: Path
) -> None:
    claim = must_claim(trials_of(study))
    claim.report(0, 0.7, record_at(7, 0.7, step=8, epoch=2.0))
    claim.finish(0.7)
    add(stored, 0.9, gamma=0.5, epochs=9, entity_marking="none")
    session = Session(study, Workspace(tmp_path / "runs", study.name), database)

    assert "best      trial 1: accuracy 0.9000 (added by hand, without folds)" in str(read_status(database, study.name))
    assert "The best is trial 1 (added by hand, without folds): mean fold accuracy 0.9000" in search_report(session)
    exported = export_trial(session, None, None)
    assert exported.trial.note(5) == "added by hand, without folds"
    assert load_stored(exported.path).fixed == study.with_fixed(exported.trial.sampled).fixed
    assert load_stored(exported.path).fixed["epochs"] == 9


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"gamma": 0.5, "epochs": 9}, "it has no entity_marking"),
        ({}, "it has no gamma"),
        ({"gamma": 1.5, "epochs": 9, "entity_marking": "none"}, "gamma: Input should be less than or equal to 1"),
    ],
)
def test_a_trial_that_was_added_and_nobody_could_run_is_not_exported_and_breaks_nothing(
    params: dict[str, Any],
    reason: str,
    database: Database,
    study: Study,
    stored: optuna.Study,
    trials_of: View,
    tmp_path: Path,
) -> None:
    must_claim(trials_of(study)).finish(0.7)
    add(stored, 0.9, **params)
    session = Session(study, Workspace(tmp_path / "runs", study.name), database)

    with pytest.raises(ExportError, match=f"trial 1 was added by hand, and cannot be exported: {reason}.*; --trial"):
        export_trial(session, None, None)
    assert "The best is trial 1 (added by hand" in search_report(session)
    draw_study(session)
    assert "trial 1: accuracy 0.9000" in str(read_status(database, study.name))


def test_values_that_no_trial_samples_break_no_figure(
    database: Database, study: Study, stored: optuna.Study, trials_of: View, tmp_path: Path
) -> None:
    for gamma, epochs in ((0.1, 1), (0.3, 60), (0.9, 7), (0.5, 9), (0.6, 30)):
        stored.enqueue_trial({"gamma": gamma, "epochs": epochs, "entity_marking": "none"})
    must_claim(trials_of(study)).finish(0.5)
    for value in (0.5, 0.6, 0.7, 0.65, 0.62):
        claim = must_claim(trials_of(study))
        for fold in range(study.folds.count):
            claim.report(fold, value, record_at(7, value, step=8, epoch=2.0))
        claim.finish(value)
    session = Session(study, Workspace(tmp_path / "runs", study.name), database)

    draw_study(session)
    assert "The best is trial 3" in search_report(session)
