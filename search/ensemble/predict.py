"""Predicts new data with a finished ensemble: the model of every fold votes."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from foldrace.search.ensemble.job import (
    LABELS_FILE,
    STUDY_FILE,
    SUMMARY_FILE,
    EnsembleSummary,
    FinalError,
    final_folds,
    fold_folder,
    read_summary,
    refuse_changed_study,
)
from foldrace.search.study_store import FinalFold
from foldrace.search.words import counted
from foldrace.storage.errors import StorageError, as_storage_error
from foldrace.storage.files.digests import digest_of, find_added, find_changed
from foldrace.storage.files.own_files import write_own
from foldrace.studies.loading import Overrides, load
from foldrace.studies.sections import is_sample
from foldrace.studies.study import Study
from foldrace.trainer.arrays import Float32Array, FloatArray
from foldrace.trainer.data.encoding import encode, unknown_share
from foldrace.trainer.data.examples import Examples, read_test
from foldrace.trainer.data.labels import read_labels
from foldrace.trainer.data.rows.in_memory import Rows
from foldrace.trainer.data.tokenizer import load_tokenizer, pad_id
from foldrace.trainer.ensemble import vote
from foldrace.trainer.metrics import Scores, score
from foldrace.trainer.modeling.devices import autocast_dtype
from foldrace.trainer.results import MODEL_FOLDER
from foldrace.trainer.submission import submission_text
from foldrace.trainer.training.prediction import load_model, predict
from foldrace.trainer.training_data import refuse_unknown

Track = Callable[[list[Path]], Iterable[Path]]

_MAX_STEM = 50  # characters; the name of a file has 255 bytes at most


@dataclass(frozen=True)
class Prediction:
    """The answers of an ensemble to some rows.

    Attributes:
        study: of the final job.
        votes: (rows, classes).
        unknown: the share of the tokens that the tokenizer does not know.
        is_trained_on: the rows are a file that the models were trained on, so that their accuracy tells nothing.
    """

    study: Study
    examples: Examples
    votes: FloatArray
    unknown: float
    is_trained_on: bool

    @cached_property
    def scores(self) -> Scores | None:
        """Over the rows whose true label is known and was not excluded; None where there are none."""
        labels = {i: row.label for i, row in enumerate(self.examples.rows) if row.label is not None}
        true = np.array(list(labels.values()), dtype=np.int64)
        return score(self.votes[list(labels)], true, self.examples.labels.no_relation) if labels else None

    @property
    def accuracy(self) -> float | None:
        return None if self.scores is None else self.scores.accuracy

    @property
    def unknown_labels(self) -> str:
        """How many rows have a label that the ensemble does not know, and the first of them; empty where none has."""
        examples = self.examples
        rows = f"{counted(examples.outside, 'row')} with a label that the ensemble does not know"
        return f"{rows}, first {examples.first_outside}" if examples.outside else ""

    def submission(self) -> str:
        """The rows' submission file, as the study asks for it."""
        ids, excluded = [row.id for row in self.examples.rows], len(self.study.data.exclude_labels)
        form = self.study.final.form(self.examples.task)
        form = "labels" if is_sample(form) else form  # a sample has the rows of the study's test file
        return submission_text(form, ids, self.votes, self.examples.labels, excluded)


def predict_rows(
    run: Path, rows: Path | Rows, device: str, overrides: Overrides = (), track: Track = iter
) -> Prediction:
    """Let the ensemble in the folder of a final job vote on a data file, or on rows in memory.

    Args:
        overrides: of the final job's study, as of `data.max_unknown`.
        track: goes through the models, and may show how far it is.

    Raises:
        FinalError: there is no finished ensemble, or a model of it is missing.
        DataError: a row is malformed, or the file cannot be read, or the tokenizer knows too little of it.
    """
    summary = read_summary(run)
    refuse_changed_study(run, summary)
    study = load(run / STUDY_FILE, overrides, runs=run, files=False)
    labels = read_labels(run / LABELS_FILE)
    if summary.labels not in ("", labels.digest):
        raise FinalError(f"{run / LABELS_FILE}: damaged, or of another run; run the final job again")
    examples = read_test(rows, labels, study.data, summary.task)
    folders = _models(run, final_folds(study, summary.seeds), summary)
    tokenizer = load_tokenizer(folders[0])  # that of all models
    tokens = encode(examples.rows, tokenizer, study.hyperparameters({}).entity_marking, study.model.max_length)
    unknown = unknown_share(tokens, tokenizer)
    if isinstance(rows, Path):  # of a few rows in memory, the share says little
        refuse_unknown(unknown, rows, study, tokenizer)
    knobs, each_row, found = study.hyperparameters({}), np.arange(len(tokens.lengths)), list[Float32Array]()
    for folder in track(folders):
        model = load_model(folder, device)
        found.append(predict(model, tokens, each_row, pad_id(tokenizer), autocast_dtype(knobs, model.device)))
    votes = vote(found, study.final.vote)
    return Prediction(study, examples, votes, unknown, isinstance(rows, Path) and _is_trained_on(rows, study))


def write_predictions(run: Path, file: Path, text: str, output: Path | None, *, force: bool = False) -> Path:
    """Write the predictions of a data file, and return their path.

    Args:
        run: the folder of the final job.
        output: by default, predictions-FILE.csv in that folder. Other predictions that are there by this name stay, and
            these get the next number.
        force: overwrite what is there.

    Raises:
        StorageError: `output` is there and is not what this ensemble said of this file; or it cannot be written.
    """
    path = output or next(path for path in _paths(run, file) if force or not _has_others(path, text))
    write_own(path, text, run, force=force, source=f"{digest_of(run / SUMMARY_FILE)} {file.resolve()}")
    return path


def _is_trained_on(file: Path, study: Study) -> bool:
    files = study.data.files["train"] + study.data.files.get("extra", ())
    with suppress(OSError, StorageError):  # a file that is gone, or that nobody may read, tells nothing
        size = file.stat().st_size
        same = [trained for trained in files if trained.is_file() and trained.stat().st_size == size]
        return file.is_file() and digest_of(file) in map(digest_of, same)
    return False


def _paths(run: Path, file: Path) -> Iterator[Path]:
    """Where the predictions of a file may be, the usual place first."""
    name = f"predictions-{file.stem[:_MAX_STEM]}"
    return (run / f"{name}{f'-{number}' if number > 1 else ''}.csv" for number in itertools.count(1))


def _has_others(path: Path, text: str) -> bool:
    """Whether something else than these predictions is there."""
    with as_storage_error(path):
        return os.path.lexists(path) and not (path.is_file() and path.read_bytes() == text.encode())


def _models(run: Path, folds: Iterable[FinalFold], summary: EnsembleSummary) -> list[Path]:
    """The folder of each fold's model, each file of which is as the ensemble knows it."""
    folders = {fold_folder(Path(), fold).as_posix(): fold_folder(run, fold) / MODEL_FOLDER for fold in folds}

    def problem(name: str) -> str:
        folder = folders[name]
        return find_changed(folder, summary.models.get(name, {})) if folder.is_dir() else f"{folder}: missing"

    with ThreadPoolExecutor() as pool:  # a digest takes longer than to load the model
        changed = next(filter(None, pool.map(problem, folders)), "")
    if changed:
        raise FinalError(f"{changed}, so the ensemble is not whole; run the final job again")
    for name, folder in folders.items():
        if added := find_added(folder, summary.models.get(name, {})):
            raise FinalError(added)
    return list(folders.values())
