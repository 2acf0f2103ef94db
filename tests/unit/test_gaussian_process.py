from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.optimize import check_grad  # type: ignore[import-untyped]

from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.race.space import SearchSpace
from foldrace.search.sampler.cube import Cube
from foldrace.search.sampler.gaussian_process import Inputs, _Likelihood, fit
from foldrace.search.sampler.readings import read_levels
from foldrace.storage.tables import WHOLE

KNOBS = (0, 1, 2)


def _rows(count: int, noise: float, seed: int = 0) -> tuple[Inputs, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    columns = random.random((count, 3))
    return Inputs(columns, KNOBS), np.sin(4 * columns[:, 0]) + columns[:, 1] + random.normal(0, noise, count)


def test_the_gradient_is_that_of_the_density() -> None:
    inputs, targets = _rows(20, 0.1)
    likelihood = _Likelihood(inputs, targets, np.linspace(0.01, 0.1, 20), 0.5, 0.7)

    wrong = check_grad(lambda at: likelihood(at)[0], lambda at: likelihood(at)[1], np.full(5, 0.3))

    assert wrong < 1e-4


def test_it_foretells_a_function_from_few_rows() -> None:
    inputs, targets = _rows(30, 0.02)
    process = fit(inputs, targets, np.full(30, 0.02**2))
    elsewhere = Inputs(np.random.default_rng(5).random((200, 3)), KNOBS)
    truth = np.sin(4 * elsewhere.columns[:, 0]) + elsewhere.columns[:, 1]

    means, variances = process.at(elsewhere)

    assert np.sqrt(np.mean((means - truth) ** 2)) < 0.15
    assert np.mean(np.abs(means - truth) < 2 * np.sqrt(variances)) > 0.85


def test_a_noisy_row_counts_for_less() -> None:
    columns = np.array([[0.2], [0.5], [0.5], [0.8]])
    targets = np.array([0.0, 1.0, 5.0, 0.0])

    believed, _ = fit(Inputs(columns, (0,)), targets, np.array([0.01, 0.01, 100.0, 0.01])).at(
        Inputs(np.array([[0.5]]), (0,))
    )

    assert believed[0] == pytest.approx(1.0, abs=0.3)


def test_the_difference_from_a_row_to_itself_is_certain() -> None:
    inputs, targets = _rows(10, 0.1)
    process = fit(inputs, targets, np.full(10, 0.01))

    _, variances, covariance = process.joint(inputs, inputs)
    differences = variances + variances[4] - 2 * covariance[:, 4]

    assert differences[4] == pytest.approx(0, abs=1e-9)
    assert differences[0] > 1e-9


@pytest.mark.parametrize("targets", [[1.0], [0.5, 0.5, 0.5]])
def test_one_row_or_equal_ones_are_enough(targets: list[float]) -> None:
    inputs = Inputs(np.linspace(0, 1, len(targets))[:, None], (0,))

    means, variances = fit(inputs, np.array(targets), np.full(len(targets), 0.01)).at(inputs)

    assert means == pytest.approx(targets, abs=0.05)
    assert (variances > 0).all()


def test_choices_are_equally_far_apart() -> None:
    cube = Cube(
        SearchSpace({"loss": CategoricalDistribution(["a", "b", "c"]), "lr": FloatDistribution(1e-4, 1e-2, log=True)})
    )
    columns = cube.inputs(np.array([cube.position({"loss": loss, "lr": 1e-3}) for loss in "abc"])).columns

    distances = [np.linalg.norm(columns[i] - columns[j]) for i, j in ((0, 1), (0, 2), (1, 2))]

    assert distances == pytest.approx([1.0] * 3)
    assert cube.inputs(np.zeros((1, 2))).knobs == (0, 0, 0, 1)


def test_a_choice_is_learnt() -> None:
    random = np.random.default_rng(0)
    cube = Cube(SearchSpace({"loss": CategoricalDistribution(["a", "b", "c"]), "lr": FloatDistribution(0, 1)}))
    positions = cube.snapped(random.random((30, 2)))
    good = positions[:, 0] == cube.position({"loss": "b", "lr": 0.0})[0]
    process = fit(cube.inputs(positions), good + 0.2 * positions[:, 1], np.full(30, 0.01))

    means, _ = process.at(cube.inputs(np.array([cube.position({"loss": loss, "lr": 0.5}) for loss in "abc"])))

    assert means[1] > max(means[0], means[2]) + 0.7


@pytest.mark.parametrize(
    "distribution",
    [
        IntDistribution(3, 8),
        IntDistribution(2, 10, step=4),
        IntDistribution(1, 64, log=True),
        FloatDistribution(0.0, 0.3, step=0.1),
        FloatDistribution(1e-5, 1e-3, log=True),
        CategoricalDistribution([True, False]),
        IntDistribution(4, 4),
    ],
)
def test_positions_are_of_values_in_the_range(distribution: Any) -> None:
    cube = Cube(SearchSpace({"knob": distribution}))
    for unit in np.linspace(0, 1, 23):
        params = cube.params(np.array([unit]))
        position = cube.position(params)
        assert distribution._contains(distribution.to_internal_repr(params["knob"]))
        assert cube.params(np.array(position))["knob"] == pytest.approx(params["knob"])
        assert cube.snapped(np.array([[unit]]))[0] == pytest.approx(position)


def _curves(number: int, best: list[list[float]]) -> LearningCurves:
    return LearningCurves(number, np.array(best), (np.empty(0, np.uint8),) * 3, (0,) * 3, {"lr": number / 9})


def _study(seed: int = 0) -> list[LearningCurves]:
    """Eight trials of three folds and four evaluations."""
    random = np.random.default_rng(seed)
    levels = np.linspace(0.4, 0.7, 8)
    ends = levels[:, None] + random.normal(0, 0.02, (8, 3))
    return [_curves(i, (e[:, None] * np.array([0.5, 0.8, 0.9, 1.0])).tolist()) for i, e in enumerate(ends)]


def test_a_reading_needs_no_order_of_folds() -> None:
    trials, third = _study(), np.full((3, 4), np.nan)
    third[2] = trials[5].best[2]  # the third fold alone
    trials.append(_curves(8, third.tolist()))

    readings = read_levels(trials)

    assert readings.values[8] == pytest.approx(trials[5].value, abs=0.06)
    assert readings.variances[5] < readings.variances[8] < np.inf


def test_a_reading_is_surer_the_further_a_fold_went() -> None:
    variances = []
    for seen in (1, 2, 4):
        running = np.full((3, 4), np.nan)
        running[0, :seen] = _study()[3].best[0, :seen]
        variances.append(read_levels([*_study(), _curves(8, running.tolist())]).variances[8])

    assert variances == sorted(variances, reverse=True)


def test_knobs_have_no_say_in_a_reading() -> None:
    plain, moved = (
        _study(),
        [LearningCurves(t.number, t.best, t.right, t.rows, {"lr": 1 - t.knobs["lr"]}) for t in _study()],
    )

    assert read_levels(plain).values.tolist() == read_levels(moved).values.tolist()


def test_nothing_is_read_before_a_fold_has_ended() -> None:
    running = np.full((3, 4), np.nan)
    running[0, 0] = 0.4

    assert np.isinf(read_levels([_curves(0, running.tolist())]).variances).all()


def test_once_the_folds_that_are_trained_now_are_done_a_reading_is_as_sure_as_theirs() -> None:
    half, whole = np.full((3, 4), np.nan), np.full((3, 4), np.nan)
    half[0, :2], whole[0] = _study()[3].best[0, :2], _study()[3].best[0]
    readings = read_levels([*_study(), _curves(8, half.tolist()), _curves(9, whole.tolist())])
    nothing: list[set[int]] = [set()] * 8

    begun = readings.variances_once_done([*nothing, {0}])
    second, both = (readings.variances_once_done([*nothing, set(), folds])[9] for folds in ({1}, {1, 2}))

    assert begun[:8].tolist() == pytest.approx(readings.variances[:8].tolist())
    assert begun[8] == pytest.approx(readings.variances[9])
    assert (second, both) == pytest.approx((readings.variances[9] / 2, readings.variances[9] / 3))
    assert readings.variances_once_done([*nothing, {WHOLE}])[8] == begun[8]


def test_a_trial_that_has_shown_nothing_will_have_shown_a_fold() -> None:
    readings = read_levels([*_study(), _curves(8, np.full((3, 4), np.nan).tolist())])

    for training in (set[int](), {0}):
        assert readings.variances_once_done([*[set[int]()] * 8, training])[8] == pytest.approx(readings.fold_variance)
