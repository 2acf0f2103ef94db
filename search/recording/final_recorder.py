"""Records a finished final job for people: a note and pictures in the dashboard, a record in each tracker.

An error in here becomes one line of the log: the submission is written by then.
"""

from collections.abc import Mapping
from contextlib import closing

import numpy as np
import optuna

from foldrace.search.ensemble.job import FinalJob
from foldrace.search.ensemble.outcome import FinalOutcome, outcome_pictures, read_outcome
from foldrace.search.ensemble.result import FinalResult
from foldrace.search.recording.dashboard_attrs import read_note, write_note
from foldrace.search.recording.recorder import attach, log_errors, name_metric, trackers_of
from foldrace.search.recording.tracker_records import average, series
from foldrace.search.recording.trial_note import escaped, image_links, markdown_table
from foldrace.search.session import Session
from foldrace.storage.trackers.protocol import Points, Record
from foldrace.trainer.training_data import TrainingData


def record_final(session: Session, job: FinalJob, data: TrainingData, result: FinalResult) -> None:
    """Record a final job of the session's study whose submission is written."""
    with log_errors(f"final job {job.number}"):
        outcome = read_outcome(job, data)
        storage = session.database.storage
        stored = session.database.retry(lambda: optuna.load_study(study_name=job.name, storage=storage))
        if _headline(result) in read_note(session.database, stored._study_id):
            return  # it was recorded before
        pictures = outcome_pictures(outcome)
        with closing(trackers_of(session, data)) as trackers:
            trackers.log(_record(outcome, result, pictures))
        addresses = attach(stored, pictures, session.workspace)
        name_metric(stored, job.study.search.metric)
        write_note(session.database, stored._study_id, _note(outcome, result, addresses))


def _record(outcome: FinalOutcome, result: FinalResult, pictures: Mapping[str, bytes]) -> Record:
    study, folds = outcome.job.study, list(outcome.results.values())
    bests = [fold.best.scores.accuracy for fold in folds]
    lists: dict[str, Points] = {f"{len(folds)}-fold val best acc list": list(enumerate(bests))}
    return Record(
        name=f"final-{outcome.job.number}",
        number=None,
        state="COMPLETE",
        value=result.mean,
        parameters=study.hyperparameters({}).model_dump(),
        series=series([fold.curve for fold in folds]) | lists | _training_accuracies(outcome),
        values=average(bests, len(folds)) | {"out-of-fold accuracy": result.accuracy},
        texts={"inference_file_path": str(result.submission)},
        pictures=pictures,
    )


def _training_accuracies(outcome: FinalOutcome) -> dict[str, Points]:
    """The accuracy of each model's best weights on its own training part, at their step."""
    found: dict[str, Points] = {}
    for i, (fold, result) in enumerate(outcome.results.items()):
        if result.train_probabilities is not None:
            plan = outcome.data.plan(outcome.job.study.final.folds, fold.seed)
            labels = outcome.data.labels[plan.training(fold.fold)]
            accuracy = float(np.mean(result.train_probabilities.argmax(axis=1) == labels))
            found[f"{i}-th train_acc_score"] = [(result.best.step, accuracy)]
    return found


def _headline(result: FinalResult) -> str:
    low, high = result.interval
    honest = (
        "" if result.luck is None else f", {result.accuracy - result.luck:.4f} without the luck of picked evaluations"
    )
    score = f"**Out-of-fold accuracy {result.accuracy:.4f}**{honest} (95 % interval {low:.4f} to {high:.4f})"
    return f"{score}\n\nHanded in: {escaped(result.submission.name)}"


def _note(outcome: FinalOutcome, result: FinalResult, addresses: Mapping[str, str]) -> str:
    rows = [
        [fold.seed, fold.fold, f"{trained.best.best:.4f}", f"{trained.best.epoch:.2f}"]
        for fold, trained in outcome.results.items()
    ]
    table = markdown_table(["seed", "fold", f"best {outcome.job.study.search.metric}", "best epoch"], rows)
    return "\n\n".join([_headline(result), table, *image_links(addresses)]) + "\n"
