"""The study's pruner at work on one trial. It only reads: what a pruner wants to store, its caller stores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner

from foldrace.search.race.factory import reason_to_prune
from foldrace.storage.database import Database


@dataclass(frozen=True)
class Judgement:
    """What a pruner says of a trial.

    Attributes:
        reason: why it stops the trial; None: the trial goes on.
        system_attrs: what it stores with the trial to compare later ones with. They must be written behind the fence.
    """

    reason: str | None = None
    system_attrs: Mapping[str, Any] | None = None


class Judge:
    """Asks a pruner about the trials of a study.

    Optuna's own pruners write to the storage while they judge. There, a worker that has lost its trial would still
    write to it, or fail because the trial has ended. On SQLite each judgement would also wait for all writers.
    """

    def __init__(self, database: Database, study_name: str, pruner: BasePruner) -> None:
        """Raises StorageError when there is no such study, and OutageError."""
        self._database, self._pruner = database, pruner
        self._storage = _CollectingStorage(database.storage)
        storage: Any = self._storage
        with database.read_only():
            self._study = database.retry(
                lambda: optuna.load_study(study_name=study_name, storage=storage, pruner=pruner)
            )

    def judge(self, trial_id: int) -> Judgement:
        """What the pruner says after the trial's last report. It takes no lock. Raises OutageError."""
        if isinstance(self._pruner, NopPruner):
            return Judgement()
        with self._database.read_only():
            return self._database.retry(lambda: self._judge(trial_id))

    def _judge(self, trial_id: int) -> Judgement:
        self._storage.collected = trial_id, {}
        reason = reason_to_prune(self._study, self._storage.get_trial(trial_id))
        return Judgement(reason, self._storage.collected[1])


class _CollectingStorage:
    """Reads as Optuna's storage does, and keeps what is written to one trial."""

    def __init__(self, storage: optuna.storages.BaseStorage) -> None:
        self._storage = storage
        self.collected: tuple[int, dict[str, Any]] = (-1, {})  # of which trial, and the system attributes by key

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id != self.collected[0]:
            raise ValueError(f"a pruner writes to trial {trial_id} while it judges trial {self.collected[0]}")
        self.collected[1][key] = value
