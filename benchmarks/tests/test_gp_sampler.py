import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.recordings import EVALUATIONS, Point, Run
from benchmarks.replay import report_estimate
from benchmarks.simulation.played import MemoryHistory
from benchmarks.simulation.samplers import MakeSampler, StudySampler, gp, tpe
from foldrace.search.race.space import SearchSpace

FOLDS = 2
SPACE = SearchSpace({"a": FloatDistribution(-5, 10), "b": FloatDistribution(0, 15)})
RIDGE = SearchSpace({name: FloatDistribution(0, 1) for name in "abcdef"})


def _branin(a: float, b: float) -> float:
    """Between 0 and 1, as a metric is; its three maxima are 1."""
    value = (b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a)
    return 1 - (value + 10 - 0.397887) / 310


def ridge(**knobs: float) -> float:
    along = sum(knobs.values()) / 6
    return 1 - (along - 0.7) ** 2 - 0.3 * (knobs["a"] - 0.2) ** 2


def begin(history: MemoryHistory, sampler: StudySampler) -> FrozenTrial:
    trial_id = history.create_new_trial(history.id)
    params = sampler.sample(history.get_trial(trial_id), history.space).values
    for knob, value in params.items():
        distribution = history.space[knob]
        history.set_trial_param(trial_id, knob, distribution.to_internal_repr(value), distribution)
    return history.get_trial(trial_id)


def complete(history: MemoryHistory, trial: FrozenTrial, ends: Sequence[float]) -> float:
    """End a trial with these values of its folds; returns the trial's."""
    study = optuna.load_study(study_name=history.study_name, storage=history)
    cells = tuple(tuple(Point(i + 1, float(end), "", 0) for i in range(EVALUATIONS)) for end in ends)
    run = Run(trial.number, 0, 1, trial.params, cells, (EVALUATIONS,) * len(ends))
    for cell in range(len(ends) * EVALUATIONS):
        report_estimate(optuna.trial.Trial(study, trial._trial_id), run, *divmod(cell, EVALUATIONS))
    history.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [run.value])
    return run.value


def search(function: Callable[..., float], space: SearchSpace, make: MakeSampler, trials: int, noise: float) -> float:
    """How far the best of the trials lies below the maximum; on average over seeds."""
    regrets = []
    for seed in range(6):
        history = MemoryHistory(space)
        sampler, levels = make(history, seed), list[float]()
        for number in range(trials):
            trial = begin(history, sampler)
            level = function(**trial.params)
            ends = level + np.random.default_rng([seed, number]).normal(0, noise, FOLDS)
            complete(history, trial, ends.tolist())
            levels.append(level)
        regrets.append(1 - max(levels))
    return float(np.mean(regrets))


@pytest.mark.parametrize(
    ("function", "space", "noise", "trials"), [(_branin, SPACE, 0.001, 25), (ridge, RIDGE, 0.03, 20)]
)
def test_it_finds_more_than_tpe_in_as_many_trials(
    function: Callable[..., float], space: SearchSpace, noise: float, trials: int
) -> None:
    ours = search(function, space, gp(FOLDS), trials, noise)

    assert ours < 0.8 * search(function, space, tpe, trials, noise)


def test_a_sample_is_determined_by_seed_number_and_history() -> None:
    def sampled(seed: int) -> list[dict[str, Any]]:
        history = MemoryHistory(RIDGE)
        sampler = gp(FOLDS)(history, seed)
        found: list[dict[str, Any]] = []
        for _ in range(8):
            sampler = gp(FOLDS)(history, seed) if len(found) % 2 else sampler  # a worker that begins anew
            trial = begin(history, sampler)
            complete(history, trial, [ridge(**trial.params)] * FOLDS)
            found.append(trial.params)
        return found

    assert sampled(1) == sampled(1)
    assert sampled(1)[-1] != sampled(2)[-1]


def test_sixteen_trials_at_once_are_sixteen_configurations() -> None:
    history = MemoryHistory(RIDGE)
    sampler = gp(FOLDS)(history, 0)
    for _ in range(6):
        trial = begin(history, sampler)
        complete(history, trial, [ridge(**trial.params)] * FOLDS)

    sampled = np.array([list(begin(history, sampler).params.values()) for _ in range(16)])

    apart = np.sqrt(((sampled[:, None] - sampled) ** 2).mean(axis=2))[np.triu_indices(16, 1)]
    assert apart.min() > 0.02


@pytest.mark.parametrize(
    "space",
    [
        SearchSpace({"lr": FloatDistribution(1e-4, 1e-2, log=True)}),
        SearchSpace({"loss": CategoricalDistribution(["focal", "cross_entropy"])}),
        SearchSpace({"loss": CategoricalDistribution(["focal"]), "epochs": IntDistribution(4, 4)}),
    ],
)
def test_a_space_of_one_knob_or_one_value_is_sampled(space: SearchSpace) -> None:
    history = MemoryHistory(space)
    sampler = gp(FOLDS)(history, 0)
    for _ in range(10):
        trial = begin(history, sampler)
        complete(history, trial, [0.5] * FOLDS)  # and all are alike

    assert {knob for t in history.get_all_trials(history.id) for knob in t.params} == set(space)


def test_thirty_pruned_trials_and_none_complete_are_learnt_from() -> None:
    history = MemoryHistory(RIDGE)
    sampler, study = gp(FOLDS)(history, 0), optuna.load_study(study_name=history.study_name, storage=history)
    for _ in range(30):
        trial = begin(history, sampler)
        cells = ((Point(1, ridge(**trial.params), "", 0),) * EVALUATIONS,) * FOLDS
        for cell in range(EVALUATIONS):  # the first fold alone
            run = Run(trial.number, 0, 1, trial.params, cells, (EVALUATIONS,) * FOLDS)
            report_estimate(optuna.trial.Trial(study, trial._trial_id), run, *divmod(cell, EVALUATIONS))
        history.set_trial_state_values(trial._trial_id, TrialState.PRUNED, [run.value])

    last = [ridge(**trial.params) for trial in history.get_all_trials(history.id)[-5:]]

    assert np.mean(last) > 0.97


def test_a_queued_value_outside_the_range_does_no_harm() -> None:
    history = MemoryHistory(SPACE)
    sampler = gp(FOLDS)(history, 0)
    outside = {"a": 40.0, "b": 5.0}
    history.create_new_trial(
        history.id, create_trial(value=0.9, params=outside, distributions={k: FloatDistribution(-50, 50) for k in "ab"})
    )
    for _ in range(8):
        trial = begin(history, sampler)
        assert -5 <= trial.params["a"] <= 10
        complete(history, trial, [_branin(**trial.params)] * FOLDS)
