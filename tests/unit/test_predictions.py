"""Where the predictions of a file are written: beside their ensemble, under a name of its own, over no others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foldrace.search.ensemble.predict import Prediction, write_predictions
from foldrace.storage.errors import StorageError
from foldrace.storage.files.own_files import write_own
from foldrace.studies.study import Study
from foldrace.trainer.data.examples import read_test
from foldrace.trainer.data.labels import Labels


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The folder of a final job, with what it says of its ensemble."""
    folder = tmp_path / "final-1"
    folder.mkdir()
    (folder / "ensemble.json").write_text("{}")
    return folder


def test_predictions_are_named_after_their_file_and_never_overwritten(job: Path) -> None:
    written = [
        write_predictions(job, Path(file), text, None).name
        for file, text in (("new.csv", "a"), ("old.tsv", "b"), ("new.csv", "a"), ("here/new.csv", "c"))
    ]

    assert written == ["predictions-new.csv", "predictions-old.csv", "predictions-new.csv", "predictions-new-2.csv"]
    assert [(job / name).read_text() for name in written] == ["a", "b", "a", "c"]


def test_predictions_that_were_edited_stay(job: Path) -> None:
    edited = write_predictions(job, Path("new.csv"), "a", None)
    edited.write_text("mine")

    assert write_predictions(job, Path("new.csv"), "a", None).name == "predictions-new-2.csv"
    assert edited.read_text() == "mine"
    assert write_predictions(job, Path("new.csv"), "b", None, force=True) == edited
    assert edited.read_text() == "b"


def test_an_output_of_the_users_is_refused_where_it_was_edited(job: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.csv"
    for text in ("a", "b"):
        assert write_predictions(job, Path("new.csv"), text, output) == output
    output.write_text("edited")

    with pytest.raises(StorageError, match=r"mine\.csv: was edited, or foldrace did not write it; --force"):
        write_predictions(job, Path("new.csv"), "c", output)


def test_an_output_with_the_predictions_of_another_file_or_ensemble_is_refused(job: Path, tmp_path: Path) -> None:
    output, told = (
        tmp_path / "mine.csv",
        r"mine\.csv: holds what was made from another file, or by another ensemble; --force",
    )
    write_predictions(job, Path("new.csv"), "a", output)

    with pytest.raises(StorageError, match=told):
        write_predictions(job, Path("other.csv"), "b", output)
    assert output.read_text() == "a"
    write_predictions(job, Path("other.csv"), "b", output, force=True)
    write_predictions(job, Path("other.csv"), "c", output)
    (job / "ensemble.json").write_text('{"seeds": [77, 78]}')
    with pytest.raises(StorageError, match=told):
        write_predictions(job, Path("other.csv"), "d", output)
    write_predictions(job, Path("other.csv"), "c", output)
    assert output.read_text() == "c"


def test_an_output_of_an_earlier_version_that_did_not_note_its_file_is_refused(job: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.csv"
    write_own(output, "a", job)

    with pytest.raises(StorageError, match=r"mine\.csv: an earlier version of foldrace wrote it"):
        write_predictions(job, Path("new.csv"), "b", output)


def test_a_long_name_is_cut(job: Path) -> None:
    assert write_predictions(job, Path(f"{'가' * 80}.csv"), "a", None).name == f"predictions-{'가' * 50}.csv"


def test_labels_that_the_ensemble_does_not_know_are_told(make_study: Callable[..., Study]) -> None:
    def told(*labels: str) -> tuple[float | None, str]:
        rows = [{"text": "비가 온다", "label": label} for label in labels]
        examples = read_test(rows, Labels(("x", "y"), (0, 1)), make_study().data, "text")
        done = Prediction(make_study(), examples, np.eye(2)[[0] * len(rows)], 0.0, is_trained_on=False)
        assert done.scores is None or done.scores.accuracy == done.accuracy
        return done.accuracy, done.unknown_labels

    assert told("x", "y", "blind") == (0.5, "")
    assert told("x", "z", "w") == (1.0, "2 rows with a label that the ensemble does not know, first 'z' in rows[1]")
