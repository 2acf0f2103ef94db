"""What a finished final job leaves for people to see: a note and pictures in the dashboard, a record in each tracker.

As with trials, a failure in here is one line in the log, and the submission is handed in all the same.
"""

from collections.abc import Mapping

import numpy as np
import optuna
from optuna_dashboard import get_note, save_note

from foldrace.search.ensemble.job import Final, HandedIn
from foldrace.search.ensemble.outcome import Finished, pictures, read_back
from foldrace.search.recording.recorder import attach, harmlessly, name_metric, trackers_of
from foldrace.search.recording.tracker_records import average, series
from foldrace.search.recording.trial_note import escaped, markdown_table, shown
from foldrace.search.session import Session
from foldrace.storage.trackers.protocol import Points, Record
from foldrace.trainer.training_data import TrainingData


def record_final(session: Session, number: int, data: TrainingData, done: HandedIn) -> None:
    """Record final job `number` of the session's study, whose ensemble is made."""
    with harmlessly(f"final job {number}"):
        finished = read_back(Final(session.study, number, session.workspace), data)
        name, storage = finished.final.name, session.database.storage
        stored = session.database.retrying(lambda: optuna.load_study(study_name=name, storage=storage))
        if _headline(done) in get_note(stored):
            return  # this job was recorded before
        drawn = pictures(finished)
        trackers = trackers_of(session)
        trackers.log(_record(finished, done, drawn))
        trackers.close()
        addresses = attach(stored, drawn, session.workspace)
        name_metric(stored, session.study.search.metric)
        save_note(stored, _note(finished, done, addresses))


def _record(finished: Finished, done: HandedIn, drawn: dict[str, bytes]) -> Record:
    study, results = finished.final.study, list(finished.results.values())
    bests = [result.best.scores.accuracy for result in results]
    lists: dict[str, Points] = {f"{len(results)}-fold val best acc list": list(enumerate(bests))}
    return Record(
        name=f"final-{finished.final.number}",
        number=None,
        state="COMPLETE",
        value=done.mean,
        parameters=study.hyperparameters({}).model_dump(),
        series=series([result.curve for result in results]) | lists | _training_accuracies(finished),
        values=average(bests, len(results)) | {"out-of-fold accuracy": done.accuracy},
        texts={"inference_file_path": str(done.submission)},
        pictures=drawn,
    )


def _training_accuracies(finished: Finished) -> dict[str, Points]:
    """The accuracy of each model's best weights on its own training part, at the step that they are of."""
    found: dict[str, Points] = {}
    for i, (fold_job, result) in enumerate(finished.results.items()):
        if result.train_probabilities is not None:
            plan = finished.data.plan(finished.final.study.final.folds, fold_job.seed)
            labels = finished.data.labels[plan.training(fold_job.fold)]
            accuracy = float(np.mean(result.train_probabilities.argmax(axis=1) == labels))
            found[f"{i}-th train_acc_score"] = [(result.best.step, accuracy)]
    return found


def _headline(done: HandedIn) -> str:
    low, high = done.interval
    score = f"**Out-of-fold accuracy {done.accuracy:.4f}** (95 % interval {low:.4f} to {high:.4f})"
    return f"{score}\n\nHanded in: {escaped(done.submission.name)}"


def _note(finished: Finished, done: HandedIn, addresses: Mapping[str, str]) -> str:
    rows = [
        [fold_job.seed, fold_job.fold, f"{result.best.best:.4f}", f"{result.best.epoch:.2f}"]
        for fold_job, result in finished.results.items()
    ]
    table = markdown_table(["seed", "fold", f"best {finished.final.study.search.metric}", "best epoch"], rows)
    return "\n\n".join([_headline(done), table, *shown(addresses)]) + "\n"
