"""A final job: every fold of every seed is trained, and their votes make the submission.

Its folds are queued, claimed and resumed like trials. What they leave on disk is all that the ensemble needs.
"""

import hashlib
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import get_args

import sqlalchemy as sa
from pydantic import TypeAdapter

from foldrace.errors import FoldraceError
from foldrace.search.study_store import (
    FinalFold,
    FoldKey,
    final_name,
    find_study,
    fold_key,
    folds_of_trials,
    public_toml,
    queue_folds,
    stored_study,
    study_exists,
)
from foldrace.storage.database import Database
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.files.digests import digest_of
from foldrace.storage.optuna_rows import State
from foldrace.storage.workspace import WORKSPACE, Workspace, is_run
from foldrace.studies.data import Task
from foldrace.studies.identity import Identity
from foldrace.studies.loading import load_stored, no_run
from foldrace.studies.study import Study, StudyError
from foldrace.trainer.results import is_complete

SUMMARY_FILE = "ensemble.json"
STUDY_FILE = "study.toml"
LABELS_FILE = "labels.json"


class FinalError(FoldraceError):
    """The final job cannot be run, or its ensemble cannot be made or used, as asked."""


@dataclass(frozen=True)
class FinalJob:
    """A final job.

    Attributes:
        study: it searches nothing; its folds are those of the final job.
        number: 1 for the first final job of the study's name.
        workspace: that of the study.
    """

    study: Study
    number: int
    workspace: Workspace

    @property
    def name(self) -> str:
        """The name of its study in the database."""
        return final_name(self.study.name, self.number)

    @property
    def folder(self) -> Path:
        return self.workspace.final(self.number).folder

    def fold_folder(self, fold: FinalFold) -> Path:
        return fold_folder(self.folder, fold)

    @property
    def is_handed_in(self) -> bool:
        """Whether its ensemble was made with this very study file: seeds, vote and submission are no settings."""
        text = public_toml(self.study).encode()
        try:
            return read_summary(self.folder).study == hashlib.sha256(text).hexdigest()
        except FinalError:
            return False

    @property
    def folds(self) -> list[FinalFold]:
        """Every fold of every seed."""
        return final_folds(self.study, self.study.final.seeds)

    @property
    def missing(self) -> list[FinalFold]:
        """The folds whose result or model is not on disk."""
        return [fold for fold in self.folds if not is_complete(self.fold_folder(fold))]


@dataclass(frozen=True)
class EnsembleSummary:
    """What a finished ensemble says of itself to later commands.

    Attributes:
        seeds: of the folds that voted.
        submission: its path in the workspace.
        accuracy, luck, interval: out of fold, as in `FinalScore`; None of models that were trained on all rows.
        macro_f1, micro_f1, auprc: out of fold; not a number of models that were trained on all rows.
        task: of its rows.
        labels: the SHA-256 of its label file; empty where an older version wrote it.
        study: the SHA-256 of its study file; empty where an older version wrote it.
        models: the SHA-256 of each file of each model, by `seed-S/fold-F`; empty where an older version wrote it.
    """

    seeds: tuple[int, ...]
    submission: str
    accuracy: float | None = None
    luck: float | None = None
    interval: tuple[float, float] | None = None
    macro_f1: float = math.nan
    micro_f1: float = math.nan
    auprc: float = math.nan
    task: Task = "relation"  # the only one of version 0.1.0
    labels: str = ""
    study: str = ""
    models: dict[str, dict[str, str]] = field(default_factory=dict)


def write_first_study(folder: Path, study: Study) -> None:
    """Write the study file of a run or a job that begins; beside an ensemble, that of the ensemble stays."""
    if not (folder / SUMMARY_FILE).exists():
        atomic_write(folder / STUDY_FILE, public_toml(study))


def final_folds(study: Study, seeds: tuple[int, ...]) -> list[FinalFold]:
    """Every fold of every seed of a final job's study."""
    return [FinalFold(fold, seed) for seed in seeds for fold in range(study.final.models)]


def fold_folder(job: Path, fold: FinalFold) -> Path:
    """The folder of one fold, in the folder of its final job."""
    return job / f"seed-{fold.seed}" / f"fold-{fold.fold}"


def read_summary(folder: Path) -> EnsembleSummary:
    """The summary in the folder of a final job.

    Raises:
        FinalError: there is no finished ensemble, or the file is damaged.
    """
    path = folder / SUMMARY_FILE
    try:
        return TypeAdapter(EnsembleSummary).validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise no_ensemble(folder) from None
    except (OSError, ValueError):
        raise FinalError(f"{path}: not the summary of an ensemble; delete it and run the final job again") from None


def refuse_changed_study(folder: Path, summary: EnsembleSummary) -> None:
    """Raise FinalError where the study file of a final job is not the one that its ensemble was made with."""
    path = folder / STUDY_FILE
    if summary.study not in ("", digest_of(path)):
        remedy = "give what differs with --set, and run the final job again, which writes the file anew"
        raise FinalError(f"{path}: was changed since the ensemble was made; {remedy}")


def finished_jobs(run: Path) -> list[Path]:
    """The folders of a run's final jobs that are finished, the newest first."""
    folders = [summary.parent for summary in run.glob(f"final-[1-9]*/{SUMMARY_FILE}")]
    return sorted(folders, key=lambda folder: (len(folder.name), folder.name), reverse=True)


def no_ensemble(folder: Path) -> FinalError:
    """The error for a folder that is not that of a finished final job; it says what comes next for its run."""
    run = folder.parent if folder.name.startswith("final-") else folder
    file = run / "final.toml"
    if file.is_file():
        step = f"foldrace final {file} makes it"
    elif (run / STUDY_FILE).is_file():
        there = "" if run.parent == WORKSPACE else f" --workspace {run.parent}"
        step = f"foldrace export {run.name}{there} writes {file}, and foldrace final {file} makes it"
    elif not is_run(run) and (run.parent == WORKSPACE or any(run.parent.glob(f"*/{STUDY_FILE}"))):
        return FinalError(no_run(run.name, run.parent))
    else:
        step = "give the folder of a final job, such as runs/demo/final-1"
    return FinalError(f"{folder}: no finished ensemble there; {step}")


def queue_final_job(study: Study, database: Database, workspace: Workspace) -> FinalJob:
    """Queue the folds of a final job; of one that goes on, only its missing ones. Raises as `find_final_job`."""
    job = find_final_job(study, database, workspace)
    queue_folds(database, job.study, job.folds, job.number, lost=job.missing)
    return job


def queue_new_folds(job: FinalJob, database: Database) -> None:
    """Queue the folds that a final job never had, as those of further seeds; one that failed stays as it is."""

    def had(connection: sa.Connection) -> set[FoldKey]:
        found = find_study(connection, job.name)
        trials = {} if found is None else folds_of_trials(connection, found.study_id, *get_args(State))
        return set(trials.values())

    there = database.read(had)
    if new := [fold for fold in job.folds if fold_key(asdict(fold)) not in there]:
        queue_folds(database, job.study, new, job.number)


def find_final_job(study: Study, database: Database, workspace: Workspace) -> FinalJob:
    """The final job of a study: the one with the same settings, in the database or else on disk; or a new one.

    Raises as `refuse_unfit`.
    """
    refuse_unfit(study)
    study = final_study(study)
    return FinalJob(study, _number(study, database, workspace), workspace)


def refuse_unfit(study: Study) -> None:
    """Raise FinalError for a study that has no final job: a knob is still searched, or there is no test file."""
    if study.searched:
        knob = next(iter(study.searched))
        remedy = f"export a trial first: foldrace export {study.name}"
        raise FinalError(f"study {study.name}: training.{knob} is still searched; {remedy}")
    if study.data.test is None:
        raise FinalError(f"study {study.name}: data.test is missing; a final job predicts it: --set data.test=PATH")


def final_study(study: Study) -> Study:
    """The study as the workers of its final job run it: its folds are those of the job."""
    return study.model_copy(update={"folds": study.folds.model_copy(update={"count": study.final.folds})})


def _number(study: Study, database: Database, workspace: Workspace) -> int:
    """The number of the final job with the same settings; without one, the first that is free on disk and in there."""
    number, identity = 1, Identity.of(study)
    while _identity(study.name, number, database, workspace) not in (None, identity):
        number += 1
    return number


def _identity(name: str, number: int, database: Database, workspace: Workspace) -> Identity | None:
    """The identity of a final job, as the database or else its folder knows it; None where there is none."""
    if study_exists(database, final_name(name, number)):
        return stored_study(database, final_name(name, number)).identity
    file = workspace.final(number).study_file
    if not file.is_file():
        return None
    try:
        return Identity.of(load_stored(file))
    except StudyError:  # its data is gone, or a newer version wrote it: it is another one
        return Identity({})
