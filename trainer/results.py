"""What a finished fold leaves on disk: its curve and probabilities in one file, its best weights as a model folder."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from foldrace.errors import FoldraceError
from foldrace.storage.files.atomic import atomic_write, new_folder, restore_folder
from foldrace.storage.files.digests import digests_of, find_changed
from foldrace.trainer.arrays import Float32Array, IntArray
from foldrace.trainer.evaluation import EvaluationRecord, RecordError, first_best
from foldrace.trainer.hub import silent_transformers
from foldrace.trainer.metrics import confusion
from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.training.tasks import FoldCost, FoldResult, FoldTask
from foldrace.trainer.training_data import TrainingData

RESULT_FILE = "result.safetensors"
MODEL_FOLDER = "model"


class ResultError(FoldraceError):
    """The result of a fold cannot be read."""


@dataclass(frozen=True)
class SavedResult:
    """The result of a fold without its weights; see `FoldResult`.

    Attributes:
        task: the hash of its task.
        model: the SHA-256 of each file of its model, by name; empty of a search, and where an older version wrote it.
    """

    task: str
    curve: tuple[EvaluationRecord, ...]
    probabilities: Float32Array
    test_probabilities: Float32Array | None
    train_probabilities: Float32Array | None
    cost: FoldCost
    model: Mapping[str, str]

    @property
    def best(self) -> EvaluationRecord:
        return first_best(self.curve)


# What damaged files raise: a FoldraceError of a record, and what the libraries do.
_UNREADABLE = (RecordError, SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError)
_ARRAYS = ("probabilities", "test_probabilities", "train_probabilities")


def save_result(result: FoldResult, task: str, folder: Path, model: Mapping[str, str] | None = None) -> None:
    """Write the result of a fold into `folder`, whole or not at all.

    Args:
        task: the hash of its task.
        model: what `save_model` returned, in a final job.

    Raises:
        StorageError: it cannot be written: no room, no right.
    """
    arrays = {name: np.ascontiguousarray(a) for name in _ARRAYS if (a := getattr(result, name)) is not None}
    curve = [evaluation.to_json() for evaluation in result.curve]
    described = json.dumps({"task": task, "about": asdict(result.cost), "curve": curve, "model": model or {}})
    metadata = {"described": described, "sha256": _digest(arrays, described)}
    atomic_write(folder / RESULT_FILE, save(arrays, metadata))


def save_model(result: FoldResult, task: FoldTask, data: TrainingData, folder: Path) -> dict[str, str]:
    """Write the best weights and the tokenizer as a model folder that `from_pretrained` loads.

    Returns:
        The SHA-256 of each file, by name.

    Raises:
        StorageError: it cannot be written: no room, no right.
    """
    model = build_model(task.source, task.knobs, task.seed, task.pad_id)
    model.load_state_dict(result.weights)
    model.config.id2label = dict(enumerate(data.examples.labels.names))
    model.config.label2id = {name: i for i, name in model.config.id2label.items()}
    with silent_transformers(), new_folder(folder / MODEL_FOLDER) as building:
        model.save_pretrained(building)
        data.tokenizer.save_pretrained(building)
        return digests_of(building)


def is_complete(folder: Path) -> bool:
    """Whether the folder of a fold holds all that an ensemble needs: a whole result, and its own model."""
    restore_folder(folder / MODEL_FOLDER)
    with suppress(ResultError):
        changed = find_changed(folder / MODEL_FOLDER, load_result(folder).model)
        return (folder / MODEL_FOLDER).is_dir() and not changed
    return False


def load_result(folder: Path) -> SavedResult:
    """The result in the folder of a fold.

    Raises:
        ResultError: there is none, or it is damaged.
    """
    path = folder / RESULT_FILE
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        described = json.loads(metadata["described"])
        found = SavedResult(
            described["task"],
            tuple(EvaluationRecord.from_json(record) for record in described["curve"]),
            arrays["probabilities"],
            arrays.get("test_probabilities"),
            arrays.get("train_probabilities"),
            FoldCost.from_json(described["about"]),
            dict(described.get("model", {})),
        )
    except _UNREADABLE as error:
        raise ResultError(f"{path}: no whole result there: {error}") from error
    if metadata.get("sha256", whole := _digest(arrays, metadata["described"])) != whole:
        raise ResultError(f"{path}: damaged: its content does not match its digest")
    if not found.curve or not all(np.isfinite(array).all() for array in arrays.values()):
        raise ResultError(f"{path}: no whole result there: no evaluation, or a probability that is not finite")
    return found


def _digest(arrays: Mapping[str, Float32Array], described: str) -> str:
    digest = hashlib.sha256(described.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def confusion_matrices(
    result: SavedResult, labels: IntArray, training: IntArray, validation: IntArray
) -> dict[str, IntArray]:
    """The confusion matrix of the validation part of a fold, where it has rows, and of its training part where that was
    predicted.

    Args:
        labels: (rows,) of the whole data.
        training, validation: positions in `labels`, as in the task of the fold.
    """
    found = {}
    if result.train_probabilities is not None:
        found["training"] = confusion(result.train_probabilities, labels[training])
    if len(validation):
        found["validation"] = confusion(result.probabilities, labels[validation])
    return found
