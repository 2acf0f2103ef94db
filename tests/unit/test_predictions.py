"""Where the predictions of a file are written: beside their ensemble, under a name of its own, over no others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foldrace.search.ensemble.predict import Prediction, write_predictions
from foldrace.storage.errors import StorageError
from foldrace.studies.study import Study
from foldrace.trainer.data.examples import read_test
from foldrace.trainer.data.labels import Labels


def test_predictions_are_named_after_their_file_and_never_overwritten(tmp_path: Path) -> None:
    written = [
        write_predictions(tmp_path, Path(file), text, None).name
        for file, text in (("new.csv", "a"), ("old.tsv", "b"), ("new.csv", "a"), ("here/new.csv", "c"))
    ]

    assert written == ["predictions-new.csv", "predictions-old.csv", "predictions-new.csv", "predictions-new-2.csv"]
    assert [(tmp_path / name).read_text() for name in written] == ["a", "b", "a", "c"]


def test_predictions_that_were_edited_stay(tmp_path: Path) -> None:
    edited = write_predictions(tmp_path, Path("new.csv"), "a", None)
    edited.write_text("mine")

    assert write_predictions(tmp_path, Path("new.csv"), "a", None).name == "predictions-new-2.csv"
    assert edited.read_text() == "mine"
    assert write_predictions(tmp_path, Path("new.csv"), "b", None, force=True) == edited
    assert edited.read_text() == "b"


def test_an_output_of_the_users_is_refused_where_it_was_edited(tmp_path: Path) -> None:
    output = tmp_path / "mine.csv"
    for text in ("a", "b"):
        assert write_predictions(tmp_path / "run", Path("new.csv"), text, output) == output
    output.write_text("edited")

    with pytest.raises(StorageError, match=r"mine\.csv: was edited, or foldrace did not write it; --force"):
        write_predictions(tmp_path / "run", Path("new.csv"), "c", output)


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    assert write_predictions(tmp_path, Path(f"{'가' * 80}.csv"), "a", None).name == f"predictions-{'가' * 50}.csv"


def test_labels_that_the_ensemble_does_not_know_are_told(make_study: Callable[..., Study]) -> None:
    def told(*labels: str) -> tuple[float | None, str]:
        rows = [{"text": "비가 온다", "label": label} for label in labels]
        examples = read_test(rows, Labels(("x", "y"), (0, 1)), make_study().data, "text")
        done = Prediction(make_study(), examples, np.eye(2)[[0] * len(rows)], 0.0, is_trained_on=False)
        assert done.scores is None or done.scores.accuracy == done.accuracy
        return done.accuracy, done.unknown_labels

    assert told("x", "y", "blind") == (0.5, "")
    assert told("x", "z", "w") == (1.0, "2 rows with a label that the ensemble does not know, first 'z' in rows[1]")
