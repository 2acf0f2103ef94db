"""What a command estimates of a search before it runs."""

import pytest

from foldrace.search.launch.preflight import expected_epochs
from foldrace.studies.loading import load


@pytest.mark.parametrize(
    ("epochs", "mean"),
    [
        ("{low = 5, high = 40}", 22.5),
        ("{low = 5, high = 40, log = true}", 16.8),  # 35 / ln 8
        ("{low = 7, high = 7, log = true}", 7.0),
        ("{choices = [2, 4, 9]}", 5.0),
        ("6", 6.0),
    ],
)
def test_the_epochs_of_a_random_trial_are_estimated(epochs: str, mean: float) -> None:
    study = load("demo", [f"training.epochs={epochs}", "search.baseline={}"])

    assert expected_epochs(study) == pytest.approx(mean, abs=0.05)
