"""The outcome of a final job, read from its folder: what each fold left, and their answers together."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foldrace.search.assessment.half_splits import unbiased_score
from foldrace.search.ensemble.job import (
    STUDY_FILE,
    FinalError,
    FinalJob,
    no_ensemble,
    read_summary,
    refuse_changed_study,
)
from foldrace.search.study_store import FinalFold
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import Overrides, load
from foldrace.trainer.arrays import IntArray
from foldrace.trainer.ensemble import OutOfFold, out_of_fold
from foldrace.trainer.figures import confusions, curves, png, reliability
from foldrace.trainer.hashing import is_same_task
from foldrace.trainer.metrics import Scores, confusion
from foldrace.trainer.results import SavedResult, confusion_matrices, load_result
from foldrace.trainer.training_data import TrainingData, open_training_data


@dataclass(frozen=True, eq=False)
class FinalOutcome:
    """A final job whose folds are trained.

    Attributes:
        results: of each fold of each seed, in the order of the job.
        scored: the out-of-fold answers; None of models that were trained on all rows.
    """

    job: FinalJob
    data: TrainingData
    results: dict[FinalFold, SavedResult]
    scored: OutOfFold | None

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.data.examples.labels.names

    @property
    def luck(self) -> float | None:
        """By how much the accuracy is too good: each model is the best of its evaluations on the rows that score it.

        None where that is not known, as with every metric but accuracy.
        """
        scores = [(result.best, unbiased_score(result.curve)) for result in self.results.values()]
        lucks = [best.best - unbiased for best, unbiased in scores if unbiased is not None]
        if len(lucks) < len(scores):
            return None
        return float(np.average(lucks, weights=[best.rows for best, _ in scores]))

    def scores(self, answers: OutOfFold) -> Scores:
        return answers.score(self.data.examples.labels.no_relation)

    def training_confusion(self) -> IntArray | None:
        """(classes, classes) counts of all models on their own training parts; None where those were not predicted."""
        found = [self._matrices(fold).get("training") for fold in self.results]
        matrices = [matrix for matrix in found if matrix is not None]
        return np.sum(matrices, axis=0) if matrices else None

    def _matrices(self, fold: FinalFold) -> dict[str, IntArray]:
        plan = self.data.final_plan(fold.seed)
        parts = plan.training(fold.fold), plan.validation(fold.fold)
        return confusion_matrices(self.results[fold], self.data.labels, *parts)


def read_outcome(job: FinalJob, data: TrainingData) -> FinalOutcome:
    """The outcome of a final job.

    Raises:
        ResultError: the result of a fold is missing or damaged.
        FinalError: a fold was trained on other data.
    """
    results = {fold: _load_fold(job, data, fold) for fold in job.folds}
    if not job.study.final.validation:
        return FinalOutcome(job, data, results, None)
    trained = []
    for seed in job.study.final.seeds:
        answers = [result.probabilities for fold, result in results.items() if fold.seed == seed]
        trained.append((data.final_plan(seed), answers))
    return FinalOutcome(job, data, results, out_of_fold(trained, data.labels, job.study.final.vote))


def open_outcome(folder: Path, overrides: Overrides = ()) -> FinalOutcome:
    """The outcome of the final job in a folder such as runs/demo/final-1.

    Args:
        overrides: of its study file, as where its data lies by now.

    Raises:
        FinalError: there is no finished ensemble.
        DataError: the data that it was trained on cannot be read any more.
    """
    refuse_changed_study(folder, read_summary(folder))
    number = folder.absolute().name.removeprefix("final-")
    if not number.isdecimal():
        raise no_ensemble(folder)
    study = load(folder / STUDY_FILE, overrides)
    job = FinalJob(study, int(number), Workspace(folder.absolute().parent.parent, study.name))
    return read_outcome(job, open_training_data(study, job.workspace))


def outcome_pictures(outcome: FinalOutcome) -> dict[str, bytes]:
    """The PNG pictures of a final job, by name: curves, confusion, calibration; none of one without scores."""
    study, name, scored = outcome.job.study, outcome.job.name, outcome.scored
    if scored is None:
        return {}
    folds = {i: result.curve for i, result in enumerate(outcome.results.values())}
    training = outcome.training_confusion()
    parts = {} if training is None else {"training parts of all models": training}
    parts["out of fold"] = confusion(scored.probabilities, scored.labels)
    return {
        "curves": png(curves(folds, study.hyperparameters({}), study.search.metric, name)),
        "confusion": png(confusions(parts, outcome.class_names, name)),
        "calibration": png(reliability(scored.probabilities, scored.labels, f"{name}, out of fold")),
    }


def _load_fold(job: FinalJob, data: TrainingData, fold: FinalFold) -> SavedResult:
    folder = job.fold_folder(fold)
    result = load_result(folder)
    plan = data.final_plan(fold.seed)
    task = data.task(job.study.hyperparameters({}), plan, fold.fold, "cpu", predict_test=True)
    if not is_same_task(result.task, task.hash()) or result.test_probabilities is None:
        known = f"not the result of this fold of this data ({job.study.data.source}, {job.study.data.test})"
        raise FinalError(f"{folder}: {known}; delete the folder and run the final job again, or give the data it knew")
    return result
