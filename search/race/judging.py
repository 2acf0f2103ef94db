"""The study's pruner at work on one trial. It only reads: what a pruner wants to store, its caller stores."""

from collections.abc import Container, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.trial import FrozenTrial, TrialState

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
    """Reads as Optuna's storage does. Keeps what is written to one trial, and shows it in that trial."""

    def __init__(self, storage: optuna.storages.BaseStorage) -> None:
        self._storage = storage
        self.collected: tuple[int, dict[str, Any]] = (-1, {})  # of which trial, and the system attributes by key

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id != self.collected[0]:
            raise ValueError(f"a pruner writes to trial {trial_id} while it judges trial {self.collected[0]}")
        self.collected[1][key] = value

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(study_id, deepcopy, states)
        judged, attrs = self.collected
        return [_with_system_attrs(trial, attrs) if trial._trial_id == judged else trial for trial in trials]


def _with_system_attrs(trial: FrozenTrial, attrs: Mapping[str, Any]) -> FrozenTrial:
    if not attrs:
        return trial
    known = copy(trial)
    known.system_attrs = {**trial.system_attrs, **attrs}
    return known
