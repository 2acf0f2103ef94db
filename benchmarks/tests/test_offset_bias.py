import numpy as np
import pytest

from benchmarks.offset_bias import FOLDS, offsets_of, pruned_curves, report, simulated_runs


def test_simulated_folds_are_equally_easy() -> None:
    runs = simulated_runs(trials=2000, seed=0)

    assert offsets_of(runs) == pytest.approx(np.zeros(FOLDS), abs=0.003)
    assert np.std([run.value for run in runs]) == pytest.approx(0.05, rel=0.1)


def test_the_errors_of_both_estimators_are_reported() -> None:
    pruned = [pruned_curves(simulated_runs(trials=12, seed=seed)) for seed in range(2)]

    within_trials, mixed_model = report(pruned, [np.zeros(FOLDS)] * 2)

    assert any(not trial.is_complete for trials in pruned for trial in trials)
    assert within_trials.startswith("within trials")
    assert mixed_model.count("+-") == FOLDS
