from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from foldrace.search.race.forecast import PAIR_DEGREES_OF_FREEDOM, ForecastModel, fold_variance_of_pair
from foldrace.search.race.learning_curves import read_learning_curves
from foldrace.search.race.racing import RacingPruner

EVALUATIONS = 8
RISE = np.array([0.0, 0.2, 0.5, 0.7, 0.85, 0.95, 1.0, 1.0])


def cells(values: list[float], noise: int = 0) -> list[list[float]]:
    """A smooth curve from 0.2 to each fold's value, with a little noise on its way."""
    wobble = np.random.default_rng(noise).normal(0, 0.01, (len(values), EVALUATIONS)) * (1 - RISE)
    return [(0.2 + (value - 0.2) * RISE + wobble[f]).tolist() for f, value in enumerate(values)]


def attributes(folds: list[list[float]], reports: int | None = None, right: str = "", rows: int = 0) -> dict[str, Any]:
    best = [max(fold[: i + 1]) for fold in folds for i in range(len(fold))]
    keys = [f"fold{f}/eval{i}" for f, fold in enumerate(folds) for i in range(len(fold))]
    records = [{"best": b, "value": b, "right": right, "rows": rows, "step": 1, "epoch": 1.5} for b in best]
    return dict(list(zip(keys, records, strict=True))[:reports])


KNOB = FloatDistribution(0.0, 1.0)


def knob(value: float | None) -> dict[str, Any]:
    return {} if value is None else {"params": {"dropout": value}, "distributions": {"dropout": KNOB}}


def complete(values: list[float], noise: int = 0, dropout: float | None = None, **more: Any) -> FrozenTrial:
    attrs = attributes(cells(values, noise), **more)
    return create_trial(value=float(np.mean(values)), user_attrs=attrs, **knob(dropout))


def running(values: list[float], reports: int, dropout: float | None = None, **more: Any) -> FrozenTrial:
    attrs = attributes(cells(values), reports, **more)
    trial = create_trial(state=TrialState.RUNNING, user_attrs=attrs, **knob(dropout))
    trial.intermediate_values = dict.fromkeys(range(reports), 0.5)
    return trial


def study_of(*trials: FrozenTrial) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study


def four_trials() -> optuna.Study:
    levels = [[0.60, 0.62, 0.58], [0.70, 0.72, 0.69], [0.65, 0.66, 0.62], [0.50, 0.55, 0.52]]
    return study_of(*(complete(level, noise) for noise, level in enumerate(levels)))


PRUNER = RacingPruner(folds=3, evaluations=EVALUATIONS)


def test_a_trial_far_behind_is_stopped_within_its_first_fold() -> None:
    verdict = PRUNER.judge(four_trials(), running([0.4, 0.4, 0.4], reports=5))

    assert verdict.prune
    assert (verdict.fold, verdict.evaluation, verdict.epoch, verdict.incumbent) == (0, 4, 1.5, 1)
    assert verdict.difference < -0.1
    assert "against trial 1, probability of beating it 0.0" in str(verdict)
    assert f"expected gain {verdict.relative_gain:.1%} of an unknown trial's" in str(verdict)


def test_where_nothing_shows_yet_a_trial_is_worth_what_any_trial_is() -> None:
    verdict = PRUNER.judge(four_trials(), running([0.21, 0.21, 0.21], reports=1))

    assert not verdict.prune
    assert verdict.relative_gain == pytest.approx(1, rel=0.5)


def test_knobs_that_never_did_well_are_stopped_at_their_first_evaluation() -> None:
    levels = np.linspace(0.75, 0.35, 9)
    study = study_of(*(complete([v, v + 0.02, v - 0.02], i, dropout=i / 8) for i, v in enumerate(levels)))

    assert PRUNER.prune(study, running([0.4, 0.4, 0.4], reports=1, dropout=1.0))
    assert not PRUNER.prune(study, running([0.4, 0.4, 0.4], reports=1, dropout=0.0))


def test_a_trial_is_stopped_for_one_that_is_still_running() -> None:
    study = study_of(
        complete([0.5, 0.52, 0.51]), running([0.8, 0.83, 0.81], reports=18), complete([0.55, 0.5, 0.51], 3)
    )

    verdict = PRUNER.judge(study, running([0.51, 0.51, 0.51], reports=12))

    assert verdict.prune
    assert verdict.incumbent == 1


def test_of_two_that_run_only_the_one_behind_is_stopped() -> None:
    ahead, behind = running([0.8, 0.8, 0.8], reports=17), running([0.5, 0.5, 0.5], reports=17)
    study = study_of(complete([0.4, 0.42, 0.41]), ahead, behind)
    ahead.number, behind.number = 1, 2

    assert not PRUNER.prune(study, ahead)
    assert PRUNER.prune(study, behind)


@pytest.mark.parametrize("reports", [4, 8, 12, 23])
def test_a_trial_that_leads_goes_on(reports: int) -> None:
    verdict = PRUNER.judge(four_trials(), running([0.8, 0.8, 0.8], reports))

    assert not verdict.prune
    assert verdict.relative_gain > 2


@pytest.mark.parametrize("reports", [8, 16])
def test_a_tie_goes_on(reports: int) -> None:
    assert not PRUNER.prune(four_trials(), running([0.70, 0.72, 0.69], reports))


def test_equal_trials_everywhere_are_never_stopped() -> None:
    study = study_of(complete([1.0, 1.0, 1.0]), complete([1.0, 1.0, 1.0]), complete([1.0, 1.0, 1.0]))

    assert not PRUNER.prune(study, running([1.0, 1.0, 1.0], reports=8))


def test_a_trial_behind_in_a_later_fold_is_stopped_there() -> None:
    verdict = PRUNER.judge(four_trials(), running([0.70, 0.45, 0.45], reports=16))

    assert verdict.prune
    assert verdict.fold == 1
    assert not PRUNER.prune(four_trials(), running([0.70, 0.45, 0.45], reports=8))


def test_nothing_is_stopped_at_its_very_last_point() -> None:
    assert not PRUNER.prune(four_trials(), running([0.3, 0.3, 0.3], reports=24))


@pytest.mark.parametrize(
    "others",
    [[], [running([0.9, 0.9, 0.9], reports=8)], [complete([0.9, 0.9, 0.9])]],
    ids=["none", "a fold", "a trial"],
)
def test_nothing_is_stopped_before_two_trials_have_a_fold_and_one_has_two(others: list[FrozenTrial]) -> None:
    verdict = PRUNER.judge(study_of(*others), running([0.3, 0.3, 0.3], reports=7))

    assert not verdict.prune
    assert verdict.incumbent is None
    assert "too little is known" in str(verdict)


def test_two_folds_of_two_trials_say_too_little_of_how_folds_scatter() -> None:
    other, mine = running([0.9, 0.9, 0.9], reports=16), running([0.3, 0.3, 0.3], reports=16)
    mine.number = 1

    assert PRUNER.judge(study_of(other, mine), mine).incumbent is None
    mine.number = 2
    assert PRUNER.prune(study_of(other, complete([0.8, 0.82, 0.81]), mine), mine)


def test_a_leader_that_still_runs_is_as_uncertain_as_its_rows_say() -> None:
    """Folds that ended alike by chance do not make it certain: its rows and the trial's differ too much."""
    whole = [complete([0.5, 0.501, 0.5], right="aaaa", rows=16), complete([0.4, 0.401, 0.4], right="5555", rows=16)]
    leader = running([0.65, 0.651, 0.65], reports=16, right="ff00", rows=16)
    trial = running([0.6, 0.601, 0.6], reports=16, right="00ff", rows=16)

    assert PRUNER.judge(study_of(*whole, leader), trial).probability > 0.1


def test_of_two_equally_likely_to_win_the_one_with_less_to_gain_is_stopped_first() -> None:
    """A trial nearly alike the leader, whose end is known well, is worth less than one that may end anywhere."""
    study = four_trials()
    known = PRUNER.judge(study, running([0.698, 0.718, 0.688], reports=23))
    unknown = PRUNER.judge(study, running([0.68, 0.68, 0.68], reports=5))

    assert known.probability > unknown.probability
    assert known.relative_gain < unknown.relative_gain


def test_who_is_expected_to_end_best_goes_on_however_little_there_is_to_gain() -> None:
    trial = running([0.703, 0.723, 0.693], reports=23)
    verdict = RacingPruner(3, EVALUATIONS, risk=1).judge(four_trials(), trial)

    assert 0 < verdict.difference < 0.01
    assert verdict.relative_gain < 1
    assert not verdict.prune


def test_no_risk_stops_nothing() -> None:
    careful = RacingPruner(folds=3, evaluations=EVALUATIONS, risk=0)

    assert not careful.prune(four_trials(), running([0.2, 0.2, 0.2], reports=20))


def test_more_risk_stops_a_trial_that_less_lets_go_on() -> None:
    trial = running([0.69, 0.69, 0.69], reports=8)
    share = PRUNER.judge(four_trials(), trial).relative_gain

    assert 0.01 < share < 0.99
    assert RacingPruner(3, EVALUATIONS, risk=share + 0.01).prune(four_trials(), trial)
    assert not RacingPruner(3, EVALUATIONS, risk=share - 0.01).prune(four_trials(), trial)


def test_every_worker_decides_alike_whatever_it_saw_before() -> None:
    study, trial = four_trials(), running([0.66, 0.66, 0.66], reports=12)
    old = RacingPruner(folds=3, evaluations=EVALUATIONS)
    old.judge(study_of(complete([0.5, 0.5, 0.5]), complete([0.4, 0.4, 0.4])), trial)
    old.judge(study, running([0.3, 0.3, 0.3], reports=5))

    assert old.judge(study, trial) == RacingPruner(folds=3, evaluations=EVALUATIONS).judge(study, trial)


def test_every_worker_decides_alike_though_as_many_folds_of_other_trials_are_done() -> None:
    study, trial = four_trials(), running([0.66, 0.66, 0.66], reports=12)
    old = RacingPruner(folds=3, evaluations=EVALUATIONS)
    study.add_trial(running([0.3, 0.3, 0.3], reports=8))
    old.judge(study, trial)
    study.tell(4, state=TrialState.FAIL)
    study.add_trial(running([0.9, 0.9, 0.9], reports=8))

    assert old.judge(study, trial) == RacingPruner(folds=3, evaluations=EVALUATIONS).judge(study, trial)


def test_a_trial_is_stopped_for_trials_that_were_taken_over() -> None:
    trials = [read_learning_curves(t, 3, EVALUATIONS) for t in four_trials().get_trials()]
    taken_over = [replace(curves, number=i - len(trials)) for i, curves in enumerate(trials)]
    hopeless = running([0.3, 0.3, 0.3], reports=8)
    alone = study_of(hopeless)

    verdict = RacingPruner(3, EVALUATIONS, taken_over=lambda: taken_over).judge(alone, hopeless)

    assert verdict.prune
    assert "against a trial that was taken over, probability" in str(verdict)
    assert not PRUNER.judge(alone, hopeless).prune


def test_a_trial_that_is_completed_is_the_next_incumbent() -> None:
    study = four_trials()
    PRUNER.judge(study, running([0.8, 0.8, 0.8], reports=8))
    study.add_trial(complete([0.9, 0.9, 0.9]))

    assert PRUNER.judge(study, running([0.8, 0.8, 0.8], reports=8)).incumbent == 4


def test_a_running_trial_whose_first_fold_cannot_be_read_is_no_incumbent() -> None:
    unreadable = create_trial(state=TrialState.RUNNING, user_attrs={"fold1/eval0": {"best": 0.9}})
    study = study_of(unreadable, running([0.8, 0.83, 0.81], reports=24), running([0.6, 0.62, 0.61], reports=24))
    trial = running([0.4, 0.4, 0.4], reports=12)
    trial.number = 3

    verdict = PRUNER.judge(study, trial)

    assert verdict.prune
    assert verdict.incumbent == 1


def test_trials_that_are_right_on_the_same_rows_are_compared_more_sharply() -> None:
    whole = [complete(v, i, right="ff00", rows=16) for i, v in enumerate([[0.6, 0.7, 0.5], [0.7, 0.6, 0.8]])]
    alike = running([0.65, 0.65, 0.65], reports=8, right="ff00", rows=16)
    unlike = running([0.65, 0.65, 0.65], reports=8, right="00ff", rows=16)

    sharper = PRUNER.judge(study_of(*whole), alike).probability

    assert abs(sharper - 0.5) > abs(PRUNER.judge(study_of(*whole), unlike).probability - 0.5)


def test_the_fold_variance_of_a_pair_weighs_its_rows_against_the_whole_study() -> None:
    both = [complete(v, i, right="ff", rows=8) for i, v in enumerate([[0.6, 0.7, 0.5], [0.7, 0.6, 0.8]])]
    whole = [read_learning_curves(trial, 3, EVALUATIONS) for trial in both]
    model = ForecastModel.fit(whole)
    trial = read_learning_curves(running([0.65, 0.65, 0.65], reports=8, right="f0", rows=8), 3, EVALUATIONS)

    # two degrees of freedom from two trials of three folds; four rows of eight, and half of a difference's variance
    expected = (2 * model.fold_variance + PAIR_DEGREES_OF_FREEDOM * (4 / 8 / 8) / 2) / (2 + PAIR_DEGREES_OF_FREEDOM)

    assert model.degrees_of_freedom == 2
    assert fold_variance_of_pair(trial, whole[0], model) == pytest.approx(expected)


@pytest.mark.parametrize("folds", [1, 2, 5, 10])
def test_any_number_of_folds_tells_a_loser_from_a_winner(folds: int) -> None:
    study = study_of(*(complete((np.linspace(0.6, 0.64, folds) + 0.03 * i).tolist(), i) for i in range(4)))
    pruner = RacingPruner(folds, EVALUATIONS)

    assert pruner.prune(study, running([0.4] * folds, reports=6))
    assert not pruner.prune(study, running([0.9] * folds, reports=6))


def test_one_evaluation_in_a_fold_is_judged_at_its_end() -> None:
    trials = [create_trial(value=v, user_attrs=attributes([[v], [v - 0.02]])) for v in (0.6, 0.65, 0.7)]
    trial = create_trial(state=TrialState.RUNNING, user_attrs=attributes([[0.3], [0.3]], reports=1))
    trial.intermediate_values = {0: 0.3}

    assert RacingPruner(folds=2, evaluations=1).prune(study_of(*trials), trial)


Junk = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.floats(),
    st.dictionaries(
        st.sampled_from(["best", "right", "rows", "epoch"]),
        st.one_of(st.none(), st.text(max_size=4), st.floats(), st.integers(-9, 9), st.lists(st.integers(), max_size=2)),
    ),
)


@given(st.lists(Junk, min_size=4, max_size=16), st.integers(-3, 20))
@settings(max_examples=60, deadline=None)
def test_nothing_that_is_stored_makes_it_raise(junk: list[Any], step: int) -> None:
    attrs = {f"fold{i // 4}/eval{i % 4}": record for i, record in enumerate(junk)}
    bad = create_trial(value=0.5, user_attrs=attrs)
    trial = create_trial(state=TrialState.RUNNING, user_attrs=attrs)
    trial.intermediate_values = {step: 0.5}
    good = [create_trial(value=v, user_attrs=attributes([[v] * 4] * 4)) for v in (0.5, 0.6)]

    verdict = RacingPruner(folds=4, evaluations=4).judge(study_of(bad, *good), trial)

    assert 0 <= verdict.probability <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 0, "evaluations": 8}, "found 0 and 8"),
        ({"folds": 5, "evaluations": 8, "risk": 1.1}, "found 1.1"),
        ({"folds": 5, "evaluations": 8, "risk": -0.1}, "found -0.1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RacingPruner(**arguments)
