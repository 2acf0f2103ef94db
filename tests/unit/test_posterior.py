"""What a study's trials let believe: what is trained now, who failed, and who was taken over."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.gp import GpSampler, Posterior
from foldrace.search.sampler.trends import Priors, TakenOver

SPACE = SearchSpace({"a": FloatDistribution(0, 1)})
FOLDS, EVALUATIONS = 3, 2
PLACES = (0.0, 0.2, 0.4, 0.6, 0.62, 1.0)


class GivenCurves:
    """Curves by the number of their trial."""

    def __init__(self, curves: Sequence[LearningCurves]) -> None:
        self._curves = curves

    def read(self, trials: Sequence[FrozenTrial]) -> list[LearningCurves]:
        return [self._curves[trial.number] for trial in trials]


def curves(number: int, ends: Sequence[float]) -> LearningCurves:
    """Of folds that ended so; of the others nothing was seen."""
    best = np.full((FOLDS, EVALUATIONS), np.nan)
    best[: len(ends)] = np.array(ends)[:, None]
    return LearningCurves(number, best, (np.empty(0, np.uint8),) * FOLDS, (0,) * FOLDS, {})


def trial(number: int, place: object, state: TrialState) -> FrozenTrial:
    found = create_trial(state=state, value=0.5 if state == TrialState.COMPLETE else None)
    found.number, found.params = number, {"a": place}
    return found


def believe(
    training: Mapping[int, Collection[int]] | None = None,
    failed: tuple[float, Sequence[float]] | None = None,
    taken_over: Sequence[TakenOver] = (),
) -> Posterior:
    """Of six trials, the first whole, the others after one fold; `failed` is the place and the folds of a seventh."""
    random, states = np.random.default_rng(0), [TrialState.COMPLETE] + [TrialState.RUNNING] * 5
    levels = [0.7 + 0.03 * place for place in PLACES]
    ends = [level + random.normal(0, 0.03, FOLDS if number == 0 else 1) for number, level in enumerate(levels)]
    trials = [trial(number, place, state) for number, (place, state) in enumerate(zip(PLACES, states, strict=True))]
    seen = [curves(number, found.tolist()) for number, found in enumerate(ends)]
    if failed is not None:
        trials.append(trial(6, failed[0], TrialState.FAIL))
        seen.append(curves(6, failed[1]))
    priors = Priors(taken_over)
    posterior = GpSampler(GivenCurves(seen), lambda: priors).believe(trials, SPACE, training or {})
    assert posterior is not None
    return posterior


def test_what_is_trained_now_leaves_less_to_learn_of_it_and_of_its_like_and_moves_no_mean() -> None:
    plain, now = believe().levels(), believe({3: {1, 2}}).levels()
    worth, worth_now = (levels.worth_of_folds(4e-4) for levels in (plain, now))

    assert now.means == pytest.approx(plain.means)
    assert np.array_equal(now.covariance, plain.covariance)
    assert now.once_done[3, 3] < 0.7 * plain.once_done[3, 3]
    assert worth_now[3] < 0.7 * worth[3]
    assert now.once_done[4, 4] < 0.9 * plain.once_done[4, 4]


def test_where_folds_are_trained_now_a_new_trial_promises_less() -> None:
    place = np.array([[0.61]])
    (mean, variance), (mean_now, variance_now) = (believe(t).surface.at(place) for t in ({}, {3: {1, 2}, 4: {1, 2}}))

    assert mean_now == pytest.approx(mean)
    assert variance_now < 0.8 * variance


def test_what_will_be_told_is_what_is_told_in_the_end() -> None:
    """A trial whose other folds are trained now, and the same trial once they have ended as was expected."""
    awaited = believe({3: {1, 2}})
    readings = awaited.readings
    assert readings.noises is not None

    variances = readings.variances.copy()
    variances[3] = readings.fold_variance / 3
    ended = awaited.process.given(awaited.to_inputs(awaited.tried), readings.values, variances)

    place = np.array([[0.3], [0.6], [0.9]])
    assert awaited.pending.at(awaited.to_inputs(place))[1] == pytest.approx(ended.at(awaited.to_inputs(place))[1])


def test_a_trial_that_failed_teaches_nothing_and_is_not_to_be_beaten() -> None:
    plain, beside = believe(), believe(failed=(0.9, [0.99, 0.05]))

    assert beside.noise == plain.noise
    assert beside.readings.values[:6].tolist() == plain.readings.values.tolist()
    assert beside.levels().means == pytest.approx(plain.levels().means)
    assert beside.surface.rivals.tolist() == plain.tried.tolist()
    assert beside.tried[6].tolist() == [0.9]


def test_a_trial_that_was_taken_over_has_to_be_beaten_and_gets_no_fold() -> None:
    best = TakenOver({"a": 0.8}, curves(0, [0.95, 0.96, 0.95]))
    plain, beside = believe().levels(), believe(taken_over=[best]).levels()

    assert beside.numbers == plain.numbers
    assert beside.means.argmax() == len(beside.numbers)
    assert max(beside.worth_of_folds(4e-4).values()) < 0.1 * max(plain.worth_of_folds(4e-4).values())


def test_a_value_that_is_no_number_is_no_place() -> None:
    assert believe(failed=("high", [])).tried.shape == (6, 1)  # type: ignore[arg-type]
