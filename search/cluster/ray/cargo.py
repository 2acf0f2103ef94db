"""What travels to the nodes of a cluster: a study file, and copies of its data where that is small."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from foldrace.search.study_store import public_toml
from foldrace.studies.sections import TINY, is_sample
from foldrace.studies.study import Study, StudyError

MOST_BYTES = 100 * 2**20  # Ray keeps what travels in the memory of its head, and refuses 512 MB
STUDY_FILE = "study.toml"


def pack(study: Study, folder: Path) -> list[Path]:
    """Write into a folder what the workers of a study need; returns what each node has to see at its own path.

    The study that they read is the same one: data is known by its content.

    Raises:
        StudyError: its model is in a folder that is given by a relative path.
    """
    files = study.data.files
    travels = sum(file.stat().st_size for given in files.values() for file in given) <= MOST_BYTES
    if travels:
        places = {
            key: [_copied(file, folder, f"{key}-{n}") for n, file in enumerate(given)] for key, given in files.items()
        }
        study = _with_data(study, places)
    if study.final.submission is not None and is_sample(study.final.submission):  # no worker reads it
        study = study.model_copy(update={"final": study.final.model_copy(update={"submission": None})})
    by_path = [] if travels else [file.absolute() for given in files.values() for file in given]
    if study.model.name != TINY and Path(study.model.name).is_dir():
        by_path.append(_model_folder(study))
    (folder / STUDY_FILE).write_text(public_toml(study), encoding="utf-8")
    return by_path


def _model_folder(study: Study) -> Path:
    """The folder of a study's model. Raises StudyError where nodes would look for it at another place."""
    folder = Path(study.model.name)
    if not folder.is_absolute():
        right = f"give its whole path, as {folder.absolute()}, where every node sees it"
        raise StudyError(f"model.name = {folder}: on a node, that is another place; {right}")
    return folder


def _copied(file: Path, folder: Path, name: str) -> Path:
    """The place of a copy, by its path in the folder."""
    place = Path("data", name, file.name)
    (folder / place).parent.mkdir(parents=True)
    shutil.copyfile(file, folder / place)
    return place


def _with_data(study: Study, places: Mapping[str, list[Path]]) -> Study:
    """The study with its data at other places."""
    alone = {key: isinstance(getattr(study.data, key), Path) for key in places}
    moved = {key: given[0] if alone[key] else tuple(given) for key, given in places.items()}
    return study.model_copy(update={"data": study.data.model_copy(update=moved)})
