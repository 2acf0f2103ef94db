"""A submission and the tables beside it, as text, and the folder that a submission gets.

The cells of a submission hold ids, labels and numbers as they are; in a table for people, no text is a formula. An
earlier submission is never overwritten.
"""

import csv
import io
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from foldrace.errors import FoldraceError, short_repr
from foldrace.storage.errors import StorageError
from foldrace.storage.files.atomic import new_folder
from foldrace.studies.sections import is_sample
from foldrace.trainer.arrays import Probabilities
from foldrace.trainer.data.formats import MAX_FILE_BYTES, decode, read_bytes
from foldrace.trainer.data.labels import Labels
from foldrace.trainer.data.rows.columns import USUAL
from foldrace.trainer.ensemble import OutOfFold

Cell = str | int | float | None

_QUOTED = re.compile(r"[=+\-@]|.*[\x00-\x1f\x7f]", re.DOTALL)  # a spreadsheet might take it for more than text
_FORMULA = re.compile(r"(?![-+]?[0-9.]+(e[-+]?[0-9]+)?\Z)[=+\-@＝＋－＠\t\r\n]", re.IGNORECASE)


class SubmissionError(FoldraceError):
    """The submission cannot be written as asked."""


def submission_text(
    form: str, ids: Sequence[str], probabilities: Probabilities, labels: Labels, excluded: int = 0
) -> str:
    """The text of the submission file, rows in test order.

    Args:
        form: `pred` (P-Stage, as in the retrospective) has a column `pred` of label codes. `probs` (Boostcamp) has the
            id, the name of the label, and the probabilities of all labels, in the order of their codes, as a Python
            list. `labels` has the id and the name of the label. Else a sample's .csv file: its columns, its rows in
            their order, and label codes where it has whole numbers, else names.
        probabilities: (rows, classes), classes as in `labels`.
        excluded: the number of labels of the competition that were left out of training. `probs` gives them 0.0.

    Raises:
        SubmissionError: ids and probabilities do not fit, or as `check_form`.
    """
    _check(ids, probabilities, labels)
    best = probabilities.argmax(axis=1).tolist()
    if is_sample(form):
        sample = _read_sample(Path(form), ids, labels)
        answers = dict(zip(ids, zip(best, _rounded(probabilities), strict=True), strict=True))
        return _csv(sample.columns, (_like(sample, id_, *answers[id_], labels) for id_ in sample.ids or ids))
    check_form(form, ids, labels, excluded)
    if form == "pred":
        return _csv(["pred"], ([labels.codes[c]] for c in best))
    if form == "labels":
        return _csv(["id", "label"], ([id_, labels.names[c]] for id_, c in zip(ids, best, strict=True)))
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
    return table_csv(header, ([*cells, *row] for *cells, row in columns))


def test_probabilities_csv(ids: Sequence[str], probabilities: Probabilities, labels: Labels) -> str:
    """A table of the test rows, in test order: id, and the probability of each label.

    Raises:
        SubmissionError: ids and probabilities do not fit.
    """
    _check(ids, probabilities, labels)
    rows = zip(ids, _rounded(probabilities), strict=True)
    return table_csv(["id", *labels.names], ([id_, *row] for id_, row in rows))


def table_csv(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table for people: an apostrophe stands before text that a spreadsheet would run as a formula."""
    return _csv([str(_as_text(name)) for name in header], ([_as_text(cell) for cell in row] for row in rows))


def submission_name(voters: str, model_name: str) -> str:
    """The name of a submission without its number, such as `8fold_koelectra-base`; `voters` is its first part.

    Of the model's name its last part counts, in letters, digits, dots, hyphens and underscores.
    """
    model = re.sub(r"[^A-Za-z0-9._-]+", "_", PurePosixPath(model_name).name)[:100] or "model"
    return f"{voters}_{model}"


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


def check_form(form: str, ids: Sequence[str], labels: Labels, excluded: int) -> None:
    """Refuse a submission that cannot be written.

    Raises:
        SubmissionError: a `probs` one has no place for the code of a label; a sample has other rows than the test file,
            or columns whose meaning is not known.
        DataError: a sample cannot be read.
    """
    if is_sample(form):
        _read_sample(Path(form), ids, labels)
    classes = len(labels.codes) + excluded
    if form == "probs" and max(labels.codes) >= classes:
        raise SubmissionError(
            f"label code {max(labels.codes)}: a probs submission of {classes} labels has 0 to {classes - 1}"
        )


@dataclass(frozen=True)
class _Sample:
    """A sample submission.

    Attributes:
        ids: of its rows; empty without a column for them, which rows in the order of the test file need not have.
        id_column: its place; None without one.
        cells: of the first row.
        rows: how many there are.
    """

    columns: list[str]
    id_column: int | None
    ids: list[str]
    cells: list[str]
    rows: int

    @property
    def answers(self) -> list[str]:
        """The columns that are to be filled."""
        return [name for i, name in enumerate(self.columns) if i != self.id_column]


def _read_sample(path: Path, ids: Sequence[str], labels: Labels) -> _Sample:
    """The sample in a file. Raises as `check_form` does."""
    text = decode(path, read_bytes(path, MAX_FILE_BYTES))
    reader = csv.reader(io.StringIO(text, newline=""))
    columns, rows = list[str](), list[list[str]]()
    try:
        for row in filter(None, reader):
            if columns and len(row) != len(columns):
                raise SubmissionError(f"{path}, line {reader.line_num}: {len(row)} of {len(columns)} columns")
            if columns:
                rows.append(row)
            else:
                columns = row
    except csv.Error as error:
        raise SubmissionError(f"{path}, line {reader.line_num}: not CSV: {error}") from None
    sample = _as_sample(columns, rows)
    _check_sample(path, sample, ids, labels)
    return sample


def _as_sample(columns: list[str], rows: list[list[str]]) -> _Sample:
    plain = [name.strip().lower() for name in columns]
    place = next((plain.index(name) for name in USUAL["id"] if name in plain), 0 if len(columns) > 1 else None)
    ids = [] if place is None else [row[place] for row in rows]
    return _Sample(columns, place, ids, rows[0] if rows else [], len(rows))


def _check_sample(path: Path, sample: _Sample, ids: Sequence[str], labels: Labels) -> None:
    answers = sample.answers
    if len(answers) != 1 and sorted(answers) != sorted(labels.names):
        expected = "one column to fill beside the id, or one for each label"
        raise SubmissionError(f"{path}: expected {expected}; found {', '.join(answers)[:100] or 'none'}")
    if sample.rows != len(ids) or (sample.ids and set(sample.ids) != set(ids)):
        other = next((id_ for id_ in sample.ids if id_ not in set(ids)), None)
        found = "" if other is None else f", and {short_repr(other)} is no test row's id"
        raise SubmissionError(f"{path}: {sample.rows} rows for {len(ids)} test rows{found}")


def _like(sample: _Sample, id_: str, best: int, probabilities: list[float], labels: Labels) -> list[Cell]:
    """One row in the form of a sample."""
    if len(sample.answers) > 1:
        filled: dict[str, Cell] = dict(zip(labels.names, probabilities, strict=True))
        return [id_ if i == sample.id_column else filled[name] for i, name in enumerate(sample.columns)]
    (place,) = (i for i in range(len(sample.columns)) if i != sample.id_column)
    has_codes = re.fullmatch(r"-?[0-9]+", sample.cells[place].strip()) is not None
    answer: Cell = labels.codes[best] if has_codes else labels.names[best]
    return [answer if i == place else id_ for i in range(len(sample.columns))]


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


def _as_text(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _csv(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    for row in (header, *rows):
        odd = any(isinstance(cell, str) and _QUOTED.match(cell) for cell in row)
        (quoted if odd else plain).writerow(row)
    return text.getvalue()
