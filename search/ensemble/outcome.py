"""A final job that is done, read back from its folder: what each model gave, and what they gave together."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foldrace.errors import FoldraceError
from foldrace.search.ensemble.job import STUDY_FILE, SUMMARY_FILE, FinalJob, fold_result
from foldrace.search.study_store import FinalFold
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import load
from foldrace.trainer.arrays import IntArray
from foldrace.trainer.ensemble import OutOfFold, out_of_fold
from foldrace.trainer.figures import confusions, curves, png, reliability
from foldrace.trainer.metrics import confusion
from foldrace.trainer.results import SavedResult, confusion_matrices
from foldrace.trainer.training_data import TrainingData, open_training_data


class OutcomeError(FoldraceError):
    """The folder is not that of a final job that is done."""


@dataclass(frozen=True, eq=False)
class FinalOutcome:
    """A final job, its data, and what it gave.

    Attributes:
        results: of each fold of each seed, in the order of the job.
        scored: the rows that no fold's own model was trained on.
        training: (classes, classes) confusion matrix of the models on the rows they were trained on, all models
            together; None where that was not predicted.
    """

    job: FinalJob
    data: TrainingData
    results: dict[FinalFold, SavedResult]
    scored: OutOfFold
    training: IntArray | None

    @property
    def names(self) -> tuple[str, ...]:
        return self.data.examples.labels.names

    @property
    def validation(self) -> IntArray:
        """(classes, classes): the confusion matrix of the out-of-fold answers."""
        return confusion(self.scored.probabilities, self.scored.labels)


def read_outcome(job: FinalJob, data: TrainingData) -> FinalOutcome:
    """What a final job left on disk. Raises ResultError or FinalError when a fold is missing."""
    study = job.study
    results = {fold: fold_result(job, data, fold) for fold in job.folds}
    plans = {seed: data.plan(study.final.folds, seed) for seed in study.final.seeds}
    trained = [(plan, [r.probabilities for j, r in results.items() if j.seed == seed]) for seed, plan in plans.items()]
    found = [
        confusion_matrices(result, data.labels, plans[j.seed].training(j.fold), plans[j.seed].validation(j.fold)).get(
            "training"
        )
        for j, result in results.items()
    ]
    counted = [matrix for matrix in found if matrix is not None]
    training: IntArray | None = np.sum(counted, axis=0) if counted else None
    return FinalOutcome(job, data, results, out_of_fold(trained, data.labels, study.final.vote), training)


def open_outcome(folder: Path) -> FinalOutcome:
    """The final job in a folder such as runs/demo/final-1.

    Raises:
        OutcomeError: there is none, or its ensemble is not made yet.
        DataError: the data that it was trained on cannot be read any more.
    """
    number = folder.name.removeprefix("final-")
    if not (folder / SUMMARY_FILE).is_file() or not number.isdigit():
        raise OutcomeError(
            f"{folder}: no finished ensemble there; give the folder of a final job, such as runs/demo/final-1"
        )
    study = load(folder / STUDY_FILE)
    final = FinalJob(study, int(number), Workspace(folder.absolute().parent.parent, study.name))
    return read_outcome(final, open_training_data(study, final.workspace))


def outcome_pictures(outcome: FinalOutcome) -> dict[str, bytes]:
    """The PNG pictures of a final job, by name: curves, confusion, calibration."""
    study, name = outcome.job.study, outcome.job.name
    folds = {i: result.curve for i, result in enumerate(outcome.results.values())}
    parts = {} if outcome.training is None else {"training parts of all models": outcome.training}
    parts["out of fold"] = outcome.validation
    scored = outcome.scored
    return {
        "curves": png(curves(folds, study.hyperparameters({}), study.search.metric, name)),
        "confusion": png(confusions(parts, outcome.names, name)),
        "calibration": png(reliability(scored.probabilities, scored.labels, f"{name}, out of fold")),
    }
