"""What a finished fold leaves on disk: its curve and probabilities in one file, its best weights as a model folder."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from foldrace.errors import FoldraceError
from foldrace.storage.files.atomic import atomic_write, new_folder, restore_folder
from foldrace.trainer.arrays import Float32Array, IntArray
from foldrace.trainer.evaluation import EvaluationRecord, first_best
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
    """The result of a fold without its weights; see `FoldResult`. `task` is the hash of its task."""

    task: str
    curve: tuple[EvaluationRecord, ...]
    probabilities: Float32Array
    test_probabilities: Float32Array | None
    train_probabilities: Float32Array | None
    cost: FoldCost

    @property
    def best(self) -> EvaluationRecord:
        return first_best(self.curve)


_ARRAYS = ("probabilities", "test_probabilities", "train_probabilities")


def save_result(result: FoldResult, task: str, folder: Path) -> None:
    """Write the result of a fold into `folder`, whole or not at all. `task` is the hash of its task.

    Raises:
        StorageError: it cannot be written: no room, no right.
    """
    arrays = {name: np.ascontiguousarray(a) for name in _ARRAYS if (a := getattr(result, name)) is not None}
    curve = [evaluation.to_json() for evaluation in result.curve]
    described = json.dumps({"task": task, "about": asdict(result.cost), "curve": curve})
    atomic_write(folder / RESULT_FILE, save(arrays, {"described": described}))


def save_model(result: FoldResult, task: FoldTask, data: TrainingData, folder: Path) -> None:
    """Write the best weights and the tokenizer as a model folder that `from_pretrained` loads.

    Raises:
        StorageError: it cannot be written: no room, no right.
    """
    model = build_model(task.source, task.knobs, task.seed)
    model.load_state_dict(result.weights)
    model.config.id2label = dict(enumerate(data.examples.labels.names))
    model.config.label2id = {name: i for i, name in model.config.id2label.items()}
    with silent_transformers(), new_folder(folder / MODEL_FOLDER) as building:
        model.save_pretrained(building)
        data.tokenizer.save_pretrained(building)


def is_complete(folder: Path) -> bool:
    """Whether the folder of a fold holds all that an ensemble needs: a whole result, and the model."""
    restore_folder(folder / MODEL_FOLDER)
    with suppress(ResultError):
        load_result(folder)
        return (folder / MODEL_FOLDER).is_dir()
    return False


def load_result(folder: Path) -> SavedResult:
    """The result in the folder of a fold.

    Raises:
        ResultError: there is none, or it is damaged.
    """
    path = folder / RESULT_FILE
    try:
        with safe_open(path, framework="np") as file:
            described = json.loads(file.metadata()["described"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{path}: no whole result there: {error}") from error
    curve = tuple(EvaluationRecord.from_json(record) for record in described["curve"])
    return SavedResult(
        described["task"],
        curve,
        arrays["probabilities"],
        arrays.get("test_probabilities"),
        arrays.get("train_probabilities"),
        FoldCost.from_json(described["about"]),
    )


def confusion_matrices(
    result: SavedResult, labels: IntArray, training: IntArray, validation: IntArray
) -> dict[str, IntArray]:
    """The confusion matrix of the validation part of a fold, and of its training part where that was predicted.

    Args:
        labels: (rows,) of the whole data.
        training, validation: positions in `labels`, as in the task of the fold.
    """
    found = {}
    if result.train_probabilities is not None:
        found["training"] = confusion(result.train_probabilities, labels[training])
    return found | {"validation": confusion(result.probabilities, labels[validation])}
