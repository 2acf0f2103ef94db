import numpy as np
import pytest

from foldrace.search.race.bayesian_ridge import Regression, regress
from foldrace.search.race.forecast import Calibration, Forecast, calibrate
from foldrace.search.race.learning_curves import Evidence

FOLDS, EVALUATIONS = 4, 3


def evidence(
    best: list[list[float]], number: int = 0, folds_done: int = FOLDS, knobs: dict[str, float] | None = None
) -> Evidence:
    cells = np.full((FOLDS, EVALUATIONS), np.nan)
    for fold, shown in enumerate(best):
        cells[fold, : len(shown)] = shown
    nothing = np.empty(0, dtype=np.uint8)
    return Evidence(number, cells, (nothing,) * folds_done, (0,) * folds_done, knobs or {})


def whole(ends: list[float], number: int = 0, **knobs: float) -> Evidence:
    return evidence([[0.2, (0.2 + end) / 2, end] for end in ends], number, knobs=knobs)


def line(mean: float, slope: float, noise: float) -> Regression:
    """Through (0, mean), and certain of it."""
    one = np.ones(1)
    return Regression(mean, 0 * one, one, slope * one, np.zeros((1, 1)), np.inf, noise)


def flat(mean: float, noise: float) -> Regression:
    """Without inputs, and certain."""
    none = np.empty(0)
    return Regression(mean, none, none, none, np.empty((0, 0)), np.inf, noise)


def test_a_forecast_is_the_exact_conditional_distribution() -> None:
    scatter, ahead = 0.0009, np.array([0.002, 0.0006, 0.0])
    promise = flat(0.5, 0.001)
    stages = (line(0.5, 0.8, 0.0014), line(0.52, 0.9, 0.0006))
    calibration = Calibration(np.zeros(FOLDS), (), promise, stages, ahead, scatter, 9, Forecast(0.5, 0.002))
    trial = evidence([[0.1, 0.2, 0.55], [0.1, 0.2, 0.57], [0.01, 0.02]], folds_done=2)

    forecast = calibration.forecast(trial, fold=2, index=1)

    # Any end varies by 0.003 around 0.5; the stage alone expects 0.538 with 0.0006: that is a reading with noise r.
    ends = np.full((4, 4), 0.003 - scatter) + scatter * np.eye(4)
    r = 1 / (1 / 0.0006 - 1 / 0.003)
    reading = r * (0.538 / 0.0006 - 0.5 / 0.003)
    seen, found = ends[:3, :3] + np.diag([0, 0, r]), np.array([0.55, 0.57, reading])
    gains = np.linalg.solve(seen, ends[:3].mean(axis=1))
    assert forecast.mean == pytest.approx(0.5 + gains @ (found - 0.5))
    assert forecast.variance == pytest.approx(ends.mean() - gains @ ends[:3].mean(axis=1))


def test_a_stage_that_says_no_more_than_the_knobs_changes_nothing() -> None:
    promise = flat(0.5, 0.0)
    blind = (line(0.5, 0.0, 0.0), line(0.5, 0.0, 0.003))
    ahead = np.array([0.003, 0.003, 0.0])
    calibration = Calibration(np.zeros(FOLDS), (), promise, blind, ahead, 0.0009, 9, Forecast(0.5, 0.002))

    forecast = calibration.forecast(evidence([[0.1, 0.4]], folds_done=0), fold=0, index=1)

    assert forecast.mean == 0.5
    assert forecast.variance == pytest.approx(0.0021 + 0.0009 / 4)


def test_a_trial_that_is_whole_ends_where_it_ended() -> None:
    trials = [whole([0.5, 0.6, 0.7, 0.8]), whole([0.4, 0.5, 0.4, 0.5], 1)]

    assert calibrate(trials).latest(trials[0]) == Forecast(trials[0].value, 0.0)


def test_a_hard_fold_counts_against_nobody() -> None:
    trials = [whole([level, level, level, level - 0.3], n) for n, level in enumerate(np.linspace(0.6, 0.8, 30))]

    calibration = calibrate(trials)

    assert calibration.offsets == pytest.approx([0.075, 0.075, 0.075, -0.225], abs=0.01)
    assert calibration.scatter == pytest.approx(0, abs=1e-9)


def test_standing_low_in_a_hard_fold_is_standing_well() -> None:
    ends = [[level - 0.3, level, level, level] for level in np.linspace(0.6, 0.8, 30)]
    trials = [evidence([[end - 0.4, end - 0.2, end] for end in folds], n) for n, folds in enumerate(ends)]

    forecast = calibrate(trials).forecast(evidence([[0.0, 0.25]], folds_done=0), fold=0, index=1)

    assert forecast.mean == pytest.approx(0.75 - 0.075, abs=0.02)
    assert forecast.variance < 0.015**2


def test_a_stage_is_doubted_where_no_trial_ever_stood() -> None:
    random = np.random.default_rng(2)
    trials = [whole(random.normal(0.6, 0.05, FOLDS).tolist(), n) for n in range(5)]
    calibration = calibrate(trials)

    usual, far = (calibration.forecast(evidence([[0.2, at]], folds_done=0), 0, 1) for at in (0.4, 0.0))

    assert far.variance > usual.variance


def test_scatter_and_offsets_are_learnt_from_a_table_with_holes() -> None:
    random = np.random.default_rng(3)
    offsets = np.array([0.05, -0.05, 0.02, -0.02])
    ends = random.uniform(0.4, 0.8, (300, 1)) + offsets + random.normal(0, 0.03, (300, FOLDS))
    trials = [whole(row[:done].tolist(), n) for n, (row, done) in enumerate(zip(ends, [2, 3, 4] * 100, strict=True))]
    holes = [evidence(t.best.tolist(), t.number, int(np.isfinite(t.best[:, -1]).sum())) for t in trials]

    calibration = calibrate(holes)

    assert calibration.offsets == pytest.approx(offsets, abs=0.01)
    assert calibration.scatter == pytest.approx(0.03**2, rel=0.15)


def test_trials_that_were_stopped_teach_how_a_fold_goes_on() -> None:
    """Stopping the lowest at their second evaluation leaves the way from the second to the third as it was."""
    random = np.random.default_rng(5)
    second = random.uniform(0.2, 0.6, 200)
    third = 0.1 + 0.9 * second + random.normal(0, 0.02, 200)
    trials = [
        whole([0.5, 0.6, 0.55, 0.6], 500),
        *(
            evidence([[0.2, s, t]] if s > 0.4 else [[0.2, s]], n, int(s > 0.4))
            for n, (s, t) in enumerate(zip(second, third, strict=True))
        ),
    ]

    calibration = calibrate(trials)

    assert calibration.stages[1].at(np.array([0.25])) == pytest.approx(0.325, abs=0.02)
    assert calibration.anyone.mean == pytest.approx(third.mean(), abs=0.02)


def test_knobs_promise_what_they_held() -> None:
    trials = [whole([0.8 - 0.4 * n / 19] * FOLDS, n, dropout=n / 19) for n in range(20)]

    calibration = calibrate(trials)

    # One row of twenty-one believes in no slope, and so do the lines from evaluation to evaluation.
    assert calibration.promise.at(np.array([0.0])) == pytest.approx(0.8, abs=0.04)
    assert calibration.promise.at(np.array([1.0])) == pytest.approx(0.4, abs=0.04)


def test_a_regression_finds_a_line_and_how_far_rows_lie_from_it() -> None:
    random = np.random.default_rng(1)
    inputs = random.uniform(0, 1, (4000, 2))
    targets = 1 + 2 * inputs[:, 0] - 3 * inputs[:, 1] + random.normal(0, 0.1, 4000)

    found = regress(inputs, targets, np.ones(4000), np.ones(2))

    assert found.at(np.array([0.5, 0.5])) == pytest.approx(0.5, abs=0.01)
    assert found.noise == pytest.approx(0.01, rel=0.1)
    assert found.doubt(np.array([0.5, 0.5])) < found.doubt(np.array([3.0, 3.0])) < 0.01


def test_a_row_that_weighs_double_is_two_rows() -> None:
    inputs, targets = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 5.0])

    doubled = regress(inputs, targets, np.array([1.0, 1.0, 2.0]), np.ones(1))
    twice = regress(inputs[[0, 1, 2, 2]], targets[[0, 1, 2, 2]], np.ones(4), np.ones(1))

    assert doubled.at(inputs) == pytest.approx(twice.at(inputs))
    assert doubled.noise == pytest.approx(twice.noise)


def test_an_input_that_never_changed_says_nothing() -> None:
    found = regress(np.array([[1.0], [1.0]]), np.array([0.4, 0.6]), np.ones(2), np.ones(1))

    assert found.at(np.array([[1.0], [7.0]])).tolist() == [0.5, 0.5]


def test_the_gain_over_another_is_the_mean_of_what_lies_above_it() -> None:
    mine, other = Forecast(0.60, 0.03**2), Forecast(0.62, 0.04**2)
    random = np.random.default_rng(0)
    drawn = random.normal(0.60, 0.03, 200_000) - random.normal(0.62, 0.04, 200_000)

    assert mine.gain_over(other) == pytest.approx(float(np.maximum(drawn, 0).mean()), rel=0.02)


@pytest.mark.parametrize(("mean", "gain"), [(0.7, 0.1), (0.6, 0.0), (0.5, 0.0)])
def test_what_is_certain_gains_its_lead(mean: float, gain: float) -> None:
    assert Forecast(mean, 0.0).gain_over(Forecast(0.6, 0.0)) == pytest.approx(gain)


def test_far_behind_there_is_next_to_nothing_to_gain_and_never_less() -> None:
    assert 0 <= Forecast(0.1, 0.01**2).gain_over(Forecast(0.9, 0.0)) < 1e-12
