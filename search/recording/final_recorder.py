"""Records a finished final job for people: a note and pictures in the dashboard, a record in each tracker.

An error in here becomes one line of the log: the submission is written by then.
"""

from collections.abc import Mapping
from contextlib import closing

import numpy as np
import optuna

from foldrace.search.ensemble.job import FinalJob
from foldrace.search.ensemble.outcome import FinalOutcome, outcome_pictures, read_outcome
from foldrace.search.ensemble.result import UNSCORED, FinalResult
from foldrace.search.recording.dashboard_attrs import read_note, write_note
from foldrace.search.recording.recorder import attach, log_errors, name_metric, trackers_of
from foldrace.search.recording.tracker_records import average, series
from foldrace.search.recording.trial_note import escaped, image_links, markdown_table
from foldrace.search.session import Session
from foldrace.storage.trackers.protocol import Points, Record
from foldrace.trainer.ensemble import interval_words
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
    score, lists, values = result.score, dict[str, Points](), dict[str, float]()
    if score is not None:
        bests = [fold.best.scores.accuracy for fold in folds]
        lists = series([fold.curve for fold in folds])
        lists |= {f"{len(folds)}-fold val best acc list": list(enumerate(bests))} | _training_accuracies(outcome)
        out_of_fold = {f"out-of-fold {name}": getattr(score.scores, name) for name in (score.metric, "accuracy")}
        values = average(bests, len(folds)) | out_of_fold
    return Record(
        name=f"final-{outcome.job.number}",
        number=None,
        state="COMPLETE",
        value=None if score is None else score.mean,
        parameters=study.hyperparameters({}).model_dump(),
        series=lists,
        values=values,
        texts={"inference_file_path": str(result.submission)},
        pictures=pictures,
    )


def _training_accuracies(outcome: FinalOutcome) -> dict[str, Points]:
    """The accuracy of each model's best weights on its own training part, at their step."""
    found: dict[str, Points] = {}
    for i, (fold, result) in enumerate(outcome.results.items()):
        if result.train_probabilities is not None:
            plan = outcome.data.final_plan(fold.seed)
            labels = outcome.data.labels[plan.training(fold.fold)]
            accuracy = float(np.mean(result.train_probabilities.argmax(axis=1) == labels))
            found[f"{i}-th train_acc_score"] = [(result.best.step, accuracy)]
    return found


def _headline(result: FinalResult) -> str:
    return f"{_score(result)}\n\nHanded in: {escaped(result.submission.name)}"


def _score(result: FinalResult) -> str:
    score = result.score
    if score is None:
        beside = "" if result.comparable is None else f"\n\nBeside it {escaped(result.comparable)}"
        return f"**{UNSCORED[:1].upper()}{UNSCORED[1:]}**{beside}"
    honest = "" if score.luck is None else f", {score.accuracy - score.luck:.4f} without the luck of picked evaluations"
    return f"**Out-of-fold {score.words}**{honest} ({interval_words(score.interval, score.metric)})"


def _note(outcome: FinalOutcome, result: FinalResult, addresses: Mapping[str, str]) -> str:
    if result.score is None:
        return _headline(result) + "\n"
    rows = [
        [fold.seed, fold.fold, f"{trained.best.best:.4f}", f"{trained.best.epoch:.2f}"]
        for fold, trained in outcome.results.items()
    ]
    table = markdown_table(["seed", "fold", f"best {outcome.job.study.search.metric}", "best epoch"], rows)
    return "\n\n".join([_headline(result), table, *image_links(addresses)]) + "\n"
