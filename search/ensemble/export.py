"""From the best trial to the final study file: every knob fixed, nothing left to search."""

import statistics
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from foldrace.errors import FoldraceError
from foldrace.search.race.learning_curves import read_evaluations
from foldrace.search.study_store import check_same, public_toml
from foldrace.storage.database import Database
from foldrace.storage.workspace import atomic_write
from foldrace.studies.knobs import Value
from foldrace.studies.study import Study


class ExportError(FoldraceError):
    """There is no such trial to export."""


@dataclass(frozen=True)
class SelectedTrial:
    """A complete trial: its number, its value (the mean of its folds' best evaluations) and those bests."""

    number: int
    value: float
    sampled: dict[str, Value]
    folds: tuple[float, ...]

    @property
    def deviation(self) -> float:
        """The standard deviation between folds."""
        return statistics.stdev(self.folds) if len(self.folds) > 1 else 0.0


def select_trial(database: Database, study: Study, number: int | None = None) -> SelectedTrial:
    """The complete trial with the highest value, or the one with the given number.

    Raises:
        ExportError: no trial is complete, or not that one.
        StorageError: no such study, or one with other settings.
    """
    check_same(database, study)
    trials = database.retry(
        lambda: optuna.load_study(study_name=study.name, storage=database.storage).get_trials(deepcopy=False)
    )
    complete = {t.number: t for t in trials if t.state == TrialState.COMPLETE and t.value is not None}
    if not complete:
        raise ExportError(f"study {study.name}: no trial is complete yet, of {len(trials)}; nothing to export")
    if number is None:
        number = max(complete, key=lambda n: (complete[n].value, -n))
    if number not in complete:
        raise ExportError(f"study {study.name}: trial {number} is not complete; complete: {_listed(sorted(complete))}")
    return _winner(complete[number], study)


def export(study: Study, best: SelectedTrial, path: Path) -> None:
    """Write the final study file of a trial; it is whole whoever else writes it at the same time."""
    folds = ", ".join(f"{value:.4f}" for value in best.folds)
    header = (
        f"# Trial {best.number} of study {study.name}: {study.search.metric} {best.value:.4f}, the mean of the best\n"
        f"# evaluations of its folds ({folds}).\n"
        f"# Train the ensemble and write the submission: foldrace final {path}\n\n"
    )
    atomic_write(path, header + public_toml(study.with_fixed(best.sampled)))


def _winner(trial: FrozenTrial, study: Study) -> SelectedTrial:
    last = study.defaults.evaluations - 1
    seen, folds = read_evaluations(trial.user_attrs), []
    for fold in range(study.folds.count):
        folds.append([seen[fold, index].best for index in range(last + 1) if (fold, index) in seen][-1])
    assert trial.value is not None
    return SelectedTrial(trial.number, trial.value, dict(trial.params), tuple(folds))


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
