from dataclasses import replace

import numpy as np
import pytest

from foldrace.search.race.bayesian_ridge import BayesianRidge
from foldrace.search.race.fold_offsets import offsets_within_trials
from foldrace.search.race.forecast import Forecast, ForecastModel
from foldrace.search.race.learning_curves import LearningCurves

FOLDS, EVALUATIONS = 4, 3


def curves(best: list[list[float]], number: int = 0, knobs: dict[str, float] | None = None) -> LearningCurves:
    cells = np.full((FOLDS, EVALUATIONS), np.nan)
    for fold, values in enumerate(best):
        cells[fold, : len(values)] = values
    nothing = np.empty(0, dtype=np.uint8)
    return LearningCurves(number, cells, (nothing,) * FOLDS, (0,) * FOLDS, knobs or {})


def forecast_of(trial: LearningCurves, model: ForecastModel) -> Forecast:
    forecast = model.forecast(trial)
    assert forecast is not None
    return forecast


def whole(ends: list[float], number: int = 0, **knobs: float) -> LearningCurves:
    return curves([[0.2, (0.2 + end) / 2, end] for end in ends], number, knobs=knobs)


def line(mean: float, slope: float, noise: float) -> BayesianRidge:
    """Through (0, mean), and certain of it."""
    one = np.ones(1)
    return BayesianRidge(mean, 0 * one, one, slope * one, np.zeros((1, 1)), np.inf, noise)


def flat(mean: float, noise: float) -> BayesianRidge:
    """Without inputs, and certain."""
    none = np.empty(0)
    return BayesianRidge(mean, none, none, none, np.empty((0, 0)), np.inf, noise)


def test_a_forecast_is_the_exact_conditional_distribution() -> None:
    fold_variance, variances = 0.0009, np.array([0.002, 0.0006, 0.0])
    prior = flat(0.5, 0.001)
    regressions = (line(0.5, 0.8, 0.0014), line(0.52, 0.9, 0.0006))
    model = ForecastModel(np.zeros(FOLDS), (), prior, regressions, variances, fold_variance, 9, Forecast(0.5, 0.002))
    trial = curves([[0.1, 0.2, 0.55], [0.1, 0.2, 0.57], [0.01, 0.02]])

    forecast = forecast_of(trial, model)

    # An end varies by 0.003 around 0.5; the regression alone expects 0.538 with 0.0006: a reading with noise r.
    ends = np.full((4, 4), 0.003 - fold_variance) + fold_variance * np.eye(4)
    r = 1 / (1 / 0.0006 - 1 / 0.003)
    reading = r * (0.538 / 0.0006 - 0.5 / 0.003)
    seen, found = ends[:3, :3] + np.diag([0, 0, r]), np.array([0.55, 0.57, reading])
    gains = np.linalg.solve(seen, ends[:3].mean(axis=1))
    assert forecast.mean == pytest.approx(0.5 + gains @ (found - 0.5))
    assert forecast.variance == pytest.approx(ends.mean() - gains @ ends[:3].mean(axis=1))


def test_folds_count_in_whichever_order_they_are_trained() -> None:
    random = np.random.default_rng(1)
    trials = [whole((level + random.normal(0, 0.01, FOLDS)).tolist(), n) for n, level in enumerate(random.random(20))]
    model = replace(ForecastModel.fit(trials), fold_offsets=np.zeros(FOLDS))
    orders: list[list[list[float]]] = [[[0.2, 0.4, 0.6], [0.2, 0.4]], [[], [0.2, 0.4], [], [0.2, 0.4, 0.6]]]

    forecasts = [forecast_of(curves(order), model) for order in orders]
    first_alone = forecast_of(curves(orders[0][:1]), model)

    assert forecasts[0].mean == pytest.approx(forecasts[1].mean)
    assert forecasts[0].variance == pytest.approx(forecasts[1].variance)
    assert forecasts[0].variance < first_alone.variance


def test_a_study_whose_trials_began_with_other_folds_teaches_the_same() -> None:
    """The first fold that a trial began says what its knobs promise, whichever that is."""
    levels = np.linspace(0.4, 0.7, 12)
    first = [curves([[0.2, (0.2 + end) / 2, end]], n, {"lr": end}) for n, end in enumerate(levels)]
    third = [replace(trial, best=trial.best[[1, 2, 0, 3]]) for trial in first]

    priors = [ForecastModel.fit(trials).prior.predict(np.array([0.5])) for trials in (first, third)]

    assert priors[0] == pytest.approx(priors[1])


def test_an_evaluation_that_says_no_more_than_the_knobs_changes_nothing() -> None:
    prior = flat(0.5, 0.0)
    blind = (line(0.5, 0.0, 0.0), line(0.5, 0.0, 0.003))
    variances = np.array([0.003, 0.003, 0.0])
    model = ForecastModel(np.zeros(FOLDS), (), prior, blind, variances, 0.0009, 9, Forecast(0.5, 0.002))

    forecast = forecast_of(curves([[0.1, 0.4]]), model)

    assert forecast.mean == 0.5
    assert forecast.variance == pytest.approx(0.0021 + 0.0009 / 4)


def test_the_forecast_of_a_complete_trial_is_its_value() -> None:
    trials = [whole([0.5, 0.6, 0.7, 0.8]), whole([0.4, 0.5, 0.4, 0.5], 1)]

    assert ForecastModel.fit(trials).forecast(trials[0]) == Forecast(trials[0].value, 0.0)


def test_a_hard_fold_has_a_negative_offset_and_adds_no_variance() -> None:
    trials = [whole([level, level, level, level - 0.3], n) for n, level in enumerate(np.linspace(0.6, 0.8, 30))]

    model = ForecastModel.fit(trials)

    # The prior that all folds are equally easy counts for two trials.
    assert model.fold_offsets == pytest.approx(np.array([0.075, 0.075, 0.075, -0.225]) * 30 / 32)
    assert model.fold_variance == pytest.approx(0, abs=1e-9)


def test_a_low_value_in_a_hard_fold_forecasts_a_good_trial() -> None:
    ends = [[level - 0.3, level, level, level] for level in np.linspace(0.6, 0.8, 30)]
    trials = [curves([[end - 0.4, end - 0.2, end] for end in folds], n) for n, folds in enumerate(ends)]

    forecast = forecast_of(curves([[0.0, 0.25]]), ForecastModel.fit(trials))

    assert forecast.mean == pytest.approx(0.75 - 0.075, abs=0.02)
    assert forecast.variance < 0.015**2


def test_a_forecast_is_less_certain_where_no_trial_has_been() -> None:
    random = np.random.default_rng(2)
    trials = [whole(random.normal(0.6, 0.05, FOLDS).tolist(), n) for n in range(5)]
    model = ForecastModel.fit(trials)

    near, far = (forecast_of(curves([[0.2, at]]), model) for at in (0.4, 0.0))

    assert far.variance > near.variance


def test_fold_variance_and_offsets_are_learnt_from_a_table_with_holes() -> None:
    random = np.random.default_rng(3)
    offsets = np.array([0.05, -0.05, 0.02, -0.02])
    ends = random.uniform(0.4, 0.8, (300, 1)) + offsets + random.normal(0, 0.03, (300, FOLDS))
    trials = [whole(row[:done].tolist(), n) for n, (row, done) in enumerate(zip(ends, [2, 3, 4] * 100, strict=True))]
    holes = [curves(t.best.tolist(), t.number) for t in trials]

    model = ForecastModel.fit(holes)

    assert model.fold_offsets == pytest.approx(offsets, abs=0.01)
    assert model.fold_variance == pytest.approx(0.03**2, rel=0.15)


@pytest.mark.parametrize("index", [1, 2], ids=["within the first fold", "at its end"])
def test_pruning_by_the_first_fold_leaves_the_offsets_unbiased(index: int) -> None:
    """All folds are equally easy. Those trials alone go on whose first fold looks good, so that it looks easier."""
    random = np.random.default_rng(4)
    ends = random.normal(0.6, 0.05, (3000, 1)) + random.normal(0, 0.04, (3000, FOLDS))
    half = 0.3 + 0.5 * ends + random.normal(0, 0.02, ends.shape)
    trials = []
    for number, values in enumerate(np.stack([0.2 + 0 * ends, half, ends], axis=2)):
        goes_on = values[0, index] > (0.635 if index == 1 else 0.67)
        folds = values.tolist() if goes_on else [values[0, : index + 1].tolist()]
        trials.append(curves(folds, number))

    offsets = ForecastModel.fit(trials).fold_offsets

    within_trials = offsets_within_trials(np.array([t.best[:, -1] for t in trials if t.is_complete]))
    assert within_trials[0] > 0.02
    assert offsets == pytest.approx(np.zeros(FOLDS), abs=0.007)


def test_pruned_trials_leave_the_regressions_unbiased() -> None:
    """To prune the lowest at their second evaluation leaves the regression of the third on the second as it was."""
    random = np.random.default_rng(5)
    second = random.uniform(0.2, 0.6, 200)
    third = 0.1 + 0.9 * second + random.normal(0, 0.02, 200)
    trials = [
        whole([0.55, 0.56, 0.54, 0.55], 500),
        *(
            curves([[0.2, s, t]] if s > 0.4 else [[0.2, s]], n)
            for n, (s, t) in enumerate(zip(second, third, strict=True))
        ),
    ]

    model = ForecastModel.fit(trials)

    assert model.end_regressions[1].predict(np.array([0.25])) == pytest.approx(0.325, abs=0.02)
    assert model.unknown_trial.mean == pytest.approx(third.mean(), abs=0.02)


def test_the_prior_follows_the_knobs() -> None:
    trials = [whole([0.8 - 0.4 * n / 19] * FOLDS, n, dropout=n / 19) for n in range(20)]

    model = ForecastModel.fit(trials)

    # A prior of one row in twenty-one says that there is no slope; so it is in each regression between evaluations.
    assert model.prior.predict(np.array([0.0])) == pytest.approx(0.8, abs=0.04)
    assert model.prior.predict(np.array([1.0])) == pytest.approx(0.4, abs=0.04)


def test_expected_improvement_is_the_mean_of_the_positive_part_of_the_lead() -> None:
    mine, other = Forecast(0.60, 0.03**2), Forecast(0.62, 0.04**2)
    random = np.random.default_rng(0)
    drawn = random.normal(0.60, 0.03, 200_000) - random.normal(0.62, 0.04, 200_000)

    assert mine.expected_improvement_over(other) == pytest.approx(float(np.maximum(drawn, 0).mean()), rel=0.02)


@pytest.mark.parametrize(("mean", "gain"), [(0.7, 0.1), (0.6, 0.0), (0.5, 0.0)])
def test_the_expected_improvement_of_a_certain_forecast_is_its_lead(mean: float, gain: float) -> None:
    assert Forecast(mean, 0.0).expected_improvement_over(Forecast(0.6, 0.0)) == pytest.approx(gain)


def test_expected_improvement_far_behind_is_almost_zero_and_never_negative() -> None:
    assert 0 <= Forecast(0.1, 0.01**2).expected_improvement_over(Forecast(0.9, 0.0)) < 1e-12
