"""Predicts new data with a finished ensemble: the model of every fold votes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foldrace.search.ensemble.job import LABELS_FILE, STUDY_FILE, FinalError, final_folds, fold_folder, read_summary
from foldrace.search.study_store import FinalFold
from foldrace.storage.files.atomic import atomic_write
from foldrace.studies.loading import load_stored
from foldrace.studies.study import Study
from foldrace.trainer.arrays import Float32Array, FloatArray
from foldrace.trainer.data.encoding import encode
from foldrace.trainer.data.examples import Examples, read_test
from foldrace.trainer.data.labels import read_labels
from foldrace.trainer.data.tokenizer import load_tokenizer, pad_id
from foldrace.trainer.ensemble import vote
from foldrace.trainer.modeling.devices import autocast_dtype
from foldrace.trainer.results import MODEL_FOLDER
from foldrace.trainer.submission import submission_text
from foldrace.trainer.training.prediction import load_model, predict


@dataclass(frozen=True)
class Prediction:
    """The answers of an ensemble to the rows of a file.

    Attributes:
        votes: (rows, classes).
        accuracy: over the rows with a known label; None where the file has none.
    """

    examples: Examples
    votes: FloatArray
    accuracy: float | None


def predict_file(run: Path, file: Path, output: Path, device: str) -> Prediction:
    """Let the ensemble in the folder of a final job vote on a data file, and write its submission.

    Raises:
        FinalError: there is no finished ensemble, or a model of it is missing.
        DataError: the file cannot be read.
    """
    summary = read_summary(run)
    study = load_stored(run / STUDY_FILE)
    examples = read_test(file, read_labels(run / LABELS_FILE))
    folders = _models(run, final_folds(study, summary.seeds))
    votes = vote(list(_predictions(folders, examples, study, device)), study.final.vote)
    ids = [row.id for row in examples.rows]
    excluded = len(study.data.exclude_labels)
    atomic_write(output, submission_text(study.final.submission, ids, votes, examples.labels, excluded))
    return Prediction(examples, votes, _accuracy(examples, votes))


def _models(run: Path, folds: Iterable[FinalFold]) -> list[Path]:
    """The folder of each fold's model."""
    folders = [fold_folder(run, fold) / MODEL_FOLDER for fold in folds]
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing is not None:
        raise FinalError(f"{missing}: missing, so the ensemble is not whole; run the final job again")
    return folders


def _predictions(folders: list[Path], examples: Examples, study: Study, device: str) -> Iterator[Float32Array]:
    """The answers of each model, (rows, classes); all models have the same tokenizer."""
    knobs, tokenizer = study.hyperparameters({}), load_tokenizer(folders[0])
    tokens = encode(examples.rows, tokenizer, knobs.entity_marking, study.model.max_length)
    rows = np.arange(len(examples.rows))
    for folder in folders:
        model = load_model(folder, device)
        yield predict(model, tokens, rows, pad_id(tokenizer), autocast_dtype(knobs, model.device))


def _accuracy(examples: Examples, votes: FloatArray) -> float | None:
    """Over the rows whose true label is known and was not excluded."""
    known = [
        (row.label, best)
        for row, best in zip(examples.rows, votes.argmax(axis=1), strict=True)
        if row.label is not None
    ]
    return sum(label == best for label, best in known) / len(known) if known else None
