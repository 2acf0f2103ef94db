"""The whole state of a fold in one file, written atomically, with a hash of its content. Nothing is ever unpickled."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from foldrace.errors import FoldraceError
from foldrace.storage.files.atomic import new_file
from foldrace.trainer.hashing import is_same_task

CHECKPOINTS_KEPT = 2  # in a folder: the newest, and the one before it in case the newest is damaged
_NAME = re.compile(r"checkpoint-(\d{8})\.safetensors")


class CheckpointError(FoldraceError):
    """No fold can go on from this checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """A fold between two optimiser steps.

    Attributes:
        task: the hash of the task. A checkpoint is good for its own task only.
        step: optimiser steps done.
        tensors: the tensors of a `FoldState` by name, on the CPU.
        state: its plain data by name, as JSON holds it.
    """

    task: str
    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]

    @property
    def file_name(self) -> str:
        """The name of its file, in any folder. Names sort in the order of steps."""
        return f"checkpoint-{self.step:08d}.safetensors"

    def save(self, folder: Path) -> Path:
        """Write the checkpoint into `folder`, drop all but the newest `CHECKPOINTS_KEPT` there, and return its path.

        Raises:
            StorageError: it cannot be written: no room, no right.
        """
        described = json.dumps({"task": self.task, "step": self.step, "state": self.state}, sort_keys=True)
        metadata = {"described": described, "sha256": _hash(self.tensors, described)}
        path = folder / self.file_name
        with new_file(path) as partial:
            save_file(self.tensors, partial, metadata)  # straight from the tensors' memory
        for old in list_checkpoints(folder)[CHECKPOINTS_KEPT:]:
            old.unlink(missing_ok=True)
        return path


def load_checkpoint(path: Path, task: str) -> Checkpoint:
    """The checkpoint in a file.

    Raises:
        CheckpointError: the file is damaged, or belongs to another task than the one with hash `task`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        described = metadata["described"]
        whole = metadata["sha256"] == _hash(tensors, described)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged, cannot be read: {error}") from error
    if not whole:
        raise CheckpointError(f"{path}: damaged, its content does not match its hash")
    content = json.loads(described)
    if not is_same_task(content["task"], task):
        raise CheckpointError(f"{path}: belongs to another study, fold or trial; it is left alone")
    return Checkpoint(task, content["step"], tensors, content["state"])


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    files = [path for path in folder.glob("checkpoint-*.safetensors") if _NAME.fullmatch(path.name)]
    return sorted(files, key=lambda path: path.name, reverse=True)


def _hash(tensors: dict[str, Tensor], described: str) -> str:
    digest = hashlib.sha256(described.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
