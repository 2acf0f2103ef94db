"""What a command estimates of a search before it runs."""

from pathlib import Path

import pytest

from foldrace.search.api.train import check
from foldrace.search.launch.preflight import TimeEstimate, describe_estimate, expected_epochs
from foldrace.search.workers.slots import Slot
from foldrace.storage.errors import StorageError
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


@pytest.mark.parametrize(
    ("rate", "hours", "said"),
    [
        (413.2, 0.01, "speed     413 rows/s (cpu, fp32): 36 s for one worker"),
        (None, None, "speed     not measured: a fold has too few steps to time"),
    ],
)
def test_an_estimate_is_said_in_a_fitting_unit_or_not_at_all(
    rate: float | None, hours: float | None, said: str
) -> None:
    study = load("demo", ["search.trials=1"])

    lines = describe_estimate(study, TimeEstimate(rate, "fp32", 6.0, hours), [Slot(0, "cpu", 1)])

    assert lines == ["budget    1 trial, 6 fold-epochs without pruning", said]


@pytest.mark.parametrize("workspace", ["file", "file/runs", "/proc/runs"])
def test_a_workspace_that_cannot_be_written_is_said_before_the_data_is_read(tmp_path: Path, workspace: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "train.tsv").write_text("not a table")
    study = load("demo", [f"data.train={tmp_path / 'train.tsv'}"])

    with pytest.raises(StorageError, match=rf"^{tmp_path / workspace}.*: cannot be written: "):
        check(study, devices="cpu", workspace=tmp_path / workspace)
