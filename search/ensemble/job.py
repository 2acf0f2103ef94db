"""The job that is handed in: every fold of every seed trained, their votes joined, the submission written.

Its folds are queued, claimed and resumed like trials. The ensemble needs only what they left on disk, and refuses
to vote with fewer folds than were asked for.
"""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree

from foldrace.errors import FoldraceError
from foldrace.search.study_store import FinalFold, final_name, queue_folds, stored_study, study_exists
from foldrace.storage.database import Database
from foldrace.storage.workspace import PARTIAL, Workspace, atomic_write
from foldrace.studies.identity import Identity
from foldrace.studies.loading import load_stored
from foldrace.studies.study import Study, StudyError
from foldrace.trainer.arrays import FloatArray
from foldrace.trainer.ensemble import OutOfFold, out_of_fold, per_class_report, vote
from foldrace.trainer.results import SavedResult, is_complete, load_result
from foldrace.trainer.submission import oof_csv, submission_folder, submission_text, test_probabilities_csv
from foldrace.trainer.training_data import TrainingData

SUMMARY_FILE = "ensemble.json"
STUDY_FILE = "study.toml"
LABELS_FILE = "labels.json"


class FinalError(FoldraceError):
    """The final job cannot be run, or its ensemble cannot be made, as asked."""


@dataclass(frozen=True)
class FinalJob:
    """A final job.

    Attributes:
        study: with every knob fixed; its folds are the final's.
        number: 1 for the first final job of the study's name.
    """

    study: Study
    number: int
    workspace: Workspace

    @property
    def name(self) -> str:
        return final_name(self.study.name, self.number)

    @property
    def folder(self) -> Path:
        return self.workspace.final(self.number).folder

    def fold_folder(self, fold: FinalFold) -> Path:
        return fold_folder(self.folder, fold)

    @property
    def folds(self) -> list[FinalFold]:
        """Every fold of every seed."""
        return [FinalFold(fold, seed) for seed in self.study.final.seeds for fold in range(self.study.final.folds)]

    @property
    def missing(self) -> list[FinalFold]:
        """The folds whose result or model is not on disk."""
        return [fold for fold in self.folds if not is_complete(self.fold_folder(fold))]


@dataclass(frozen=True)
class FinalResult:
    """What a final job gave.

    Attributes:
        folds: each model's best evaluation, by the study's metric.
        accuracy: out of fold, and its 95 % interval.
        submission: the file to hand in.
    """

    folds: tuple[float, ...]
    accuracy: float
    interval: tuple[float, float]
    submission: Path

    @property
    def mean(self) -> float:
        return statistics.mean(self.folds)

    @property
    def deviation(self) -> float:
        return statistics.stdev(self.folds)


def fold_folder(job: Path, fold: FinalFold) -> Path:
    """The folder of one fold, in the folder of its final job."""
    return job / f"seed-{fold.seed}" / f"fold-{fold.fold}"


def begin(study: Study, database: Database, workspace: Workspace) -> FinalJob:
    """Queue the folds of a final job, or those that are missing in one with the same settings, also on disk alone.

    Raises:
        FinalError: a knob is still searched, or there is no test file.
    """
    if study.searched:
        knob = next(iter(study.searched))
        raise FinalError(
            f"study {study.name}: training.{knob} is still searched; export a trial first: foldrace export"
        )
    if study.data.test is None:
        raise FinalError(f"study {study.name}: data.test is missing; a final job predicts it: --set data.test=PATH")
    study = study.model_copy(update={"folds": study.folds.model_copy(update={"count": study.final.folds})})
    job = FinalJob(study, _number(study, database, workspace), workspace)
    queue_folds(database, study, job.folds, job.number, lost=job.missing)
    return job


def _number(study: Study, database: Database, workspace: Workspace) -> int:
    """That of the final job with the same settings, or else the first that neither database nor workspace has."""
    number, identity = 1, Identity.of(study)
    while _settings(study.name, number, database, workspace) not in (None, identity):
        number += 1
    return number


def _settings(name: str, number: int, database: Database, workspace: Workspace) -> Identity | None:
    """The identity of a final job that is there, also one of a database that is gone; None: there is none."""
    if study_exists(database, final_name(name, number)):
        return stored_study(database, final_name(name, number)).identity
    file = workspace.final(number).study_file
    if not file.is_file():
        return None
    try:
        return Identity.of(load_stored(file))
    except StudyError:  # its data is gone, or a newer version wrote it: it is another one
        return Identity({})


def ensemble(job: FinalJob, data: TrainingData) -> FinalResult:
    """Join the votes of all folds and write what is handed in. Calling it again changes nothing.

    Raises:
        FinalError: a fold is missing, or was trained for other data.
    """
    with job.workspace.lock("ensemble"):
        results = {fold: fold_result(job, data, fold) for fold in job.folds}
        how = job.study.final.vote
        trained = [
            (
                data.plan(job.study.final.folds, seed),
                [r.probabilities for fold, r in results.items() if fold.seed == seed],
            )
            for seed in job.study.final.seeds
        ]
        scored = out_of_fold(trained, data.labels, how)
        votes = vote([r.test_probabilities for r in results.values() if r.test_probabilities is not None], how)
        _write_tables(job, data, scored, votes)
        return _hand_in(job, data, results, scored, votes)


def fold_result(job: FinalJob, data: TrainingData, fold: FinalFold) -> SavedResult:
    """What a fold left. Raises ResultError when it is missing, FinalError when it was trained on other data."""
    folder = job.fold_folder(fold)
    result = load_result(folder)
    plan = data.plan(job.study.final.folds, fold.seed)
    task = data.task(job.study.hyperparameters({}), plan, fold.fold, "cpu", predict_test=True)
    if result.task != task.hash() or result.test_probabilities is None:
        raise FinalError(f"{folder}: trained with other data than {job.study.data.test}; start anew with --as NAME")
    return result


def _write_tables(job: FinalJob, data: TrainingData, scored: OutOfFold, votes: FloatArray) -> None:
    labels, ids = data.examples.labels, [row.id for row in data.examples.rows]
    atomic_write(job.folder / "oof.csv", oof_csv(scored, ids, labels))
    atomic_write(job.folder / "test_probabilities.csv", test_probabilities_csv(_test_ids(data), votes, labels))
    codes = dict(zip(labels.names, labels.codes, strict=True))
    atomic_write(job.folder / LABELS_FILE, json.dumps(codes, ensure_ascii=False, indent=2) + "\n")
    report = per_class_report(scored.probabilities, scored.labels, labels.names)
    atomic_write(job.folder / "report.txt", report)


def _hand_in(
    job: FinalJob, data: TrainingData, results: dict[FinalFold, SavedResult], scored: OutOfFold, votes: FloatArray
) -> FinalResult:
    """The submission in a numbered folder of its own; one with the same bytes that this job wrote before stands."""
    study, labels = job.study, data.examples.labels
    text = submission_text(study.final.submission, _test_ids(data), votes, labels, len(study.data.exclude_labels))
    scores = scored.score(data.no_relation)
    folds = tuple(result.best.best for result in results.values())
    path = _submission(job, text)
    done = FinalResult(folds, scores.accuracy, scored.accuracy_interval(), path)
    summary = asdict(scores) | {"interval": done.interval, "folds": folds, "mean": done.mean, "sd": done.deviation}
    summary |= {
        "vote": study.final.vote,
        "seeds": study.final.seeds,
        "submission": str(path.relative_to(job.workspace.folder)),
    }
    atomic_write(job.folder / SUMMARY_FILE, json.dumps(summary, indent=2) + "\n")
    return done


def _submission(job: FinalJob, text: str) -> Path:
    """The file to hand in: one with the same bytes that was written before, or a new one in a folder of its own."""
    parent = job.workspace.folder / "submissions"
    for folder in parent.glob("*/"):
        if all(path.name.startswith(PARTIAL) for path in folder.iterdir()):
            rmtree(folder)  # of an ensemble that was killed before it wrote its file
    for path in sorted(parent.glob("*/*.csv")):
        if path.read_bytes() == text.encode():
            return path
    folder = submission_folder(parent, job.study.final.folds, job.study.model.name)
    path = folder / f"{folder.name}.csv"
    atomic_write(path, text)
    return path


def _test_ids(data: TrainingData) -> list[str]:
    return [] if data.test is None else [row.id for row in data.test.rows]
