"""The files that the attempts at one fold leave: its checkpoints, and in the end its result.

Each attempt writes into a folder of its own, so a worker that lost its trial disturbs nobody. The next attempt goes on
from the newest whole checkpoint of any of them.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import rmtree

from foldrace.storage.workspace import attempts_in
from foldrace.trainer.hashing import is_same_task
from foldrace.trainer.results import ResultError, SavedResult, is_complete, load_result, save_model, save_result
from foldrace.trainer.training.checkpoint import Checkpoint, CheckpointError, list_checkpoints, load_checkpoint
from foldrace.trainer.training.tasks import FoldResult, FoldTask
from foldrace.trainer.training_data import TrainingData

logger = logging.getLogger("foldrace.worker")


@dataclass(frozen=True)
class FoldFiles:
    """The files of a fold, for one attempt at it.

    Attributes:
        folder: of the fold.
        task: what the fold trains; a file of another task is never read.
        attempt: the number of the attempt that writes, from 1.
    """

    folder: Path
    task: FoldTask
    attempt: int

    def result(self) -> SavedResult | None:
        """What an earlier attempt left that finished the fold; None when none did."""
        with suppress(ResultError):
            found = load_result(self.folder)
            is_usable = self.task.test is None or is_complete(self.folder)
            return found if is_same_task(found.task, self._task_hash) and is_usable else None
        return None

    def newest_checkpoint(self) -> Checkpoint | None:
        """The newest whole checkpoint of any attempt; None: the fold begins anew."""
        paths = [path for attempt in attempts_in(self.folder) for path in list_checkpoints(attempt)]
        for path in sorted(paths, key=lambda path: path.name, reverse=True):
            try:
                return load_checkpoint(path, self._task_hash)
            except CheckpointError as error:
                logger.warning("%s; going back to the one before it", error)
        return None

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint into the folder of this attempt. Raises StorageError when there is no room."""
        checkpoint.save(self._own_folder)

    def drop_later_than(self, resumed: Checkpoint | None) -> None:
        """Delete what lies in the folder of this attempt and is later than the checkpoint that it resumes from.

        A database that is gone, or a fold that failed, may have left such files. They would be taken for newer ones.
        """
        for path in list_checkpoints(self._own_folder):
            if resumed is None or path.name > resumed.file_name:
                path.unlink(missing_ok=True)

    def save_result(self, result: FoldResult, data: TrainingData) -> None:
        """Write the fold's result, in a final job its model too. Raises StorageError when there is no room."""
        model = {} if self.task.test is None else save_model(result, self.task, data, self.folder)
        save_result(result, self._task_hash, self.folder, model)

    def drop_own(self) -> None:
        """Delete the checkpoints of this attempt."""
        rmtree(self._own_folder, ignore_errors=True)

    @cached_property
    def _task_hash(self) -> str:
        return self.task.hash()

    @property
    def _own_folder(self) -> Path:
        return self.folder / f"attempt-{self.attempt}"


def drop_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a fold that has ended: nobody goes on from them."""
    for attempt in attempts_in(folder):
        rmtree(attempt, ignore_errors=True)
