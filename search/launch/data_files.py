"""Finds the data files of a new study: the training rows, the test rows and the labels, by their names."""

import re
from pathlib import Path

from foldrace.studies.data import Data
from foldrace.studies.study import StudyError

_TABLES = (".tsv", ".csv", ".json", ".jsonl", ".parquet", ".txt")
_LABELS = ("label_type.pkl", "dict_label_to_num.pkl", "label_type.json", "labels.json")  # the last ones are plain


def find_data(path: Path) -> Data:
    """The data of a folder, or of a training file and what lies beside it. Their content is not read yet.

    Raises:
        StudyError: there is nothing there, no training file, or more than one.
    """
    if not path.exists():
        raise StudyError(f"{path}: no such file or folder; give the training rows, or the folder that holds them")
    folder = path if path.is_dir() else path.parent
    train = _the_one(folder, "train") if path.is_dir() else path
    if train is None:
        raise StudyError(f"{path}: no training file there, such as train.csv or train.tsv; give the file itself")
    test = _the_one(folder, "test", like=train)
    labels = next((folder / name for name in _LABELS if (folder / name).is_file()), None)
    return Data(train=train, test=test if test != train else None, labels=labels)


def study_name(data: Data) -> str:
    """A name for a study, after the data's file; after its folder, where the file is only called train."""
    file = data.files["train"][0].absolute()
    stem = re.sub(r"^train[-_. ]*|[-_. ]*train$", "", file.stem) or file.parent.name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:100]
    return name or "study"


def _the_one(folder: Path, part: str, like: Path | None = None) -> Path | None:
    """The file of a part; of several, the one with the suffix of the training file. None where there is none."""
    tables = sorted(file for file in folder.iterdir() if file.suffix.lower() in _TABLES and file.is_file())
    exact = [file for file in tables if file.stem.lower() == part]
    found = exact or [file for file in tables if re.fullmatch(rf"{part}[-_. ]?(data|set|\d.*)?", file.stem.lower())]
    alike = [file for file in found if like is not None and file.suffix == like.suffix] or found
    if len(alike) > 1:
        names = " and ".join(file.name for file in alike[:2])
        what = "give the one that is meant" if part == "train" else "leave one there"
        raise StudyError(f"{folder}: {names} may both be the {part} rows; {what}")
    return alike[0] if alike else None
