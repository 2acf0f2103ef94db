"""A submission and the tables beside it, as text, and the folder that a submission gets.

Cells hold ids, labels and numbers as they are. An earlier submission is never overwritten.
"""

import csv
import io
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from foldrace.errors import FoldraceError
from foldrace.storage.errors import StorageError
from foldrace.storage.files.atomic import new_folder
from foldrace.trainer.arrays import Probabilities
from foldrace.trainer.data.labels import Labels
from foldrace.trainer.ensemble import OutOfFold

Format = Literal["pred", "probs"]
Cell = str | int | float

_QUOTED = re.compile(r"[=+\-@]|.*[\x00-\x1f\x7f]", re.DOTALL)  # a spreadsheet might take it for more than text


class SubmissionError(FoldraceError):
    """The submission cannot be written as asked."""


def submission_text(
    form: Format, ids: Sequence[str], probabilities: Probabilities, labels: Labels, excluded: int = 0
) -> str:
    """The text of the submission file, rows in test order.

    Args:
        form: `pred` (P-Stage, as in the retrospective) has a column `pred` of label codes. `probs` (Boostcamp) has the
            id, the name of the label, and the probabilities of all labels, in the order of their codes, as a Python
            list.
        probabilities: (rows, classes), classes as in `labels`.
        excluded: the number of labels of the competition that were left out of training. `probs` gives them 0.0.

    Raises:
        SubmissionError: ids and probabilities do not fit, or `probs` has no place for the code of a label.
    """
    _check(ids, probabilities, labels)
    check_codes(form, labels, excluded)
    best = probabilities.argmax(axis=1).tolist()
    if form == "pred":
        return _csv(["pred"], ([labels.codes[c]] for c in best))
    every = _in_code_order(probabilities, labels, excluded)
    cells = zip(ids, best, every, strict=True)
    return _csv(["id", "pred_label", "probs"], ([id_, labels.names[c], str(row)] for id_, c, row in cells))


def oof_csv(out_of_fold: OutOfFold, ids: Sequence[str], labels: Labels) -> str:
    """A table of the answers: id, fold, seed, label, predicted label, and the probability of each label.

    Args:
        ids: of all training rows.

    Raises:
        SubmissionError: the probabilities are not those of `labels`.
    """
    of = out_of_fold
    answered = [ids[row] for row in of.rows]
    _check(answered, of.answers, labels)
    truth = dict(zip(of.scored.tolist(), of.labels.tolist(), strict=True))
    true = [labels.names[truth[row]] for row in of.rows.tolist()]
    predicted = [labels.names[c] for c in of.answers.argmax(axis=1).tolist()]
    columns = zip(answered, of.fold.tolist(), of.seed.tolist(), true, predicted, _rounded(of.answers), strict=True)
    header = ["id", "fold", "seed", "label", "predicted", *labels.names]
    return _csv(header, ([*cells, *row] for *cells, row in columns))


def test_probabilities_csv(ids: Sequence[str], probabilities: Probabilities, labels: Labels) -> str:
    """A table of the test rows, in test order: id, and the probability of each label.

    Raises:
        SubmissionError: ids and probabilities do not fit.
    """
    _check(ids, probabilities, labels)
    rows = zip(ids, _rounded(probabilities), strict=True)
    return _csv(["id", *labels.names], ([id_, *row] for id_, row in rows))


def submission_name(folds: int, model_name: str) -> str:
    """The name of a submission without its number, such as `8fold_koelectra-base`.

    Of the model's name its last part counts, in letters, digits, dots, hyphens and underscores.
    """
    model = re.sub(r"[^A-Za-z0-9._-]+", "_", PurePosixPath(model_name).name)[:100] or "model"
    return f"{folds}fold_{model}"


def write_submission(parent: Path, name: str, text: str) -> Path:
    """Write `parent/NAME1/NAME1.csv`, or the next number that is free, and return its path.

    The folder appears together with its file, so a writer that is killed leaves no empty one; two writers at once get
    two numbers. A folder that is there is neither filled nor replaced.

    Raises:
        StorageError: the folder cannot be written: no room, no right.
    """
    for number in itertools.count(1):
        folder = parent / f"{name}{number}"
        try:
            if not os.path.lexists(folder):
                with new_folder(folder, replace=False) as building:
                    (building / f"{folder.name}.csv").write_bytes(text.encode())
                break
        except StorageError:
            if not os.path.lexists(folder):  # else another writer was faster
                raise
    return folder / f"{folder.name}.csv"


def _check(ids: Sequence[str], probabilities: Probabilities, labels: Labels) -> None:
    expected = (len(ids), len(labels.names))
    if probabilities.shape != expected:
        raise SubmissionError(f"probabilities of shape {probabilities.shape}, expected {expected} (rows, labels)")


def check_codes(form: Format, labels: Labels, excluded: int) -> None:
    """Raise SubmissionError when a `probs` submission has no place for the code of a label."""
    classes = len(labels.codes) + excluded
    if form == "probs" and max(labels.codes) >= classes:
        raise SubmissionError(
            f"label code {max(labels.codes)}: a probs submission of {classes} labels has 0 to {classes - 1}"
        )


def _in_code_order(probabilities: Probabilities, labels: Labels, excluded: int) -> Iterable[list[float]]:
    classes = len(labels.codes) + excluded
    for row in _rounded(probabilities):
        every = [0.0] * classes
        for code, probability in zip(labels.codes, row, strict=True):
            every[code] = probability
        yield every


def _rounded(probabilities: Probabilities) -> list[list[float]]:
    """The probabilities with nine digits: a 32-bit number needs as many to be read back as it was."""
    return [[float(f"{p:.9g}") for p in row] for row in probabilities.tolist()]


def _csv(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    for row in (header, *rows):
        odd = any(isinstance(cell, str) and _QUOTED.match(cell) for cell in row)
        (quoted if odd else plain).writerow(row)
    return text.getvalue()
