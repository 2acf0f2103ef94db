"""What the Gaussian process makes of earlier studies of a known function."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from benchmarks.recordings import EVALUATIONS
from benchmarks.simulation.played import MemoryHistory
from benchmarks.simulation.samplers import gp
from benchmarks.tests.test_gp_sampler import FOLDS, RIDGE, begin, complete, ridge, search
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.readings import Readings
from foldrace.search.sampler.trends import NO_PRIORS, Priors, PriorStudy, TakenOver

NOISE, EARLIER = 0.03, 24


def earlier(function: Callable[..., float] = ridge, trials: int = EARLIER, name: str = "earlier") -> PriorStudy:
    """A study of random configurations, 0.1 below `function`, as on another data set."""
    random = np.random.default_rng(5)
    params = [dict(zip(RIDGE, map(float, row), strict=True)) for row in random.random((trials, len(RIDGE)))]
    values = np.array([function(**one) - 0.1 for one in params]) + random.normal(0, NOISE / 2, trials)
    return PriorStudy(name, RIDGE, params, Readings(values, np.full(trials, NOISE**2 / 4)), {})


def regret(priors: Priors, trials: int) -> float:
    return search(ridge, RIDGE, gp(FOLDS, priors), trials, NOISE)


def test_a_good_prior_finds_more_with_three_trials_than_none_with_six() -> None:
    assert regret(Priors(studies=[earlier()]), 3) < regret(NO_PRIORS, 6)


def test_a_weak_prior_does_no_harm() -> None:
    assert regret(Priors(studies=[earlier(trials=3)]), 8) < 1.3 * regret(NO_PRIORS, 8)


def test_a_reversed_prior_costs_at_most_half_a_point_after_24_trials() -> None:
    assert regret(Priors(studies=[earlier().reversed()]), 24) - regret(NO_PRIORS, 24) <= 0.005


def credible_priors(priors: Priors, trials: int = 10) -> list[tuple[str, ...] | None]:
    """Of each trial, the earlier studies that counted when it was sampled."""
    history, found = MemoryHistory(RIDGE), list[tuple[str, ...] | None]()
    sampler = gp(FOLDS, priors)(history, 0)
    for _ in range(trials):
        sample = sampler.sample(history.get_trial(history.create_new_trial(history.id)), RIDGE)
        trial_id = history.get_all_trials(history.id)[-1]._trial_id
        for knob, value in sample.values.items():
            history.set_trial_param(trial_id, knob, value, RIDGE[knob])
        complete(history, history.get_trial(trial_id), [ridge(**sample.values)] * FOLDS)
        found.append(sample.priors)
    return found


def test_the_first_two_trials_are_the_priors_and_two_are_spread_out() -> None:
    good, reverse = earlier(name="good"), earlier(name="reversed").reversed()

    found = credible_priors(Priors(studies=[good, reverse]))

    assert found[:4] == [("good", "reversed")] * 2 + [None] * 2
    assert found[-1] == ("good",)
    assert credible_priors(Priors(studies=[reverse]))[-1] == ()
    assert credible_priors(NO_PRIORS) == [None] * 10


def test_places_in_a_range_are_compared_where_the_values_are_of_another_size() -> None:
    earlier_space = SearchSpace({knob: FloatDistribution(20, 40) for knob in RIDGE})
    by_place = earlier()
    scaled = [{knob: 20 + 20 * value for knob, value in one.items()} for one in by_place.params]
    prior = PriorStudy("scaled", earlier_space, scaled, by_place.readings, {})

    assert regret(Priors(studies=[prior]), 3) < regret(NO_PRIORS, 6)


def test_a_knob_that_the_new_study_has_fixed_enters_at_its_value() -> None:
    def at(value: float) -> np.ndarray[Any, Any]:
        prior = PriorStudy("wider", RIDGE, earlier().params, earlier().readings, {"f": value})
        (trend,) = prior.trends(RIDGE.only("abcde"))
        return trend(np.array([[0.2, 0.9, 0.9, 0.9, 0.9], [0.2, 0.3, 0.3, 0.3, 0.3]]))

    assert np.diff(at(0.0))[0] < np.diff(at(1.0))[0]  # the more of one, the less of the others


@pytest.mark.parametrize(
    "space",
    [{"z": FloatDistribution(0, 1)}, {"a": CategoricalDistribution([0.0, 1.0])}],
    ids=["other knobs", "a range of old, choices now"],
)
def test_a_study_without_a_knob_in_common_promises_nothing(space: dict[str, Any]) -> None:
    assert earlier().trends(SearchSpace(space)) == []


def taken_over(trials: int) -> list[TakenOver]:
    found, earlier_ = [], earlier(trials=trials)
    for params in earlier_.params:
        best = np.full((FOLDS, EVALUATIONS), ridge(**params))
        found.append(TakenOver(params, LearningCurves(-1, best, (np.empty(0, np.uint8),) * FOLDS, (0,) * FOLDS, {})))
    return found


def test_trials_that_are_taken_over_count_as_trials_of_the_study() -> None:
    assert regret(Priors(taken_over(EARLIER)), 3) < regret(NO_PRIORS, 8)


def test_a_space_that_trials_taken_over_do_not_fill_is_searched_beyond_them() -> None:
    wider = SearchSpace(RIDGE | {"a": FloatDistribution(-1, 1)})
    history = MemoryHistory(wider)
    sampler = gp(FOLDS, Priors(taken_over(EARLIER)))(history, 0)
    for _ in range(8):
        trial = begin(history, sampler)
        complete(history, trial, [ridge(**trial.params | {"a": trial.params["a"] + 0.9})] * FOLDS)  # best at -0.7

    assert min(trial.params["a"] for trial in history.get_all_trials(history.id)) < -0.2
