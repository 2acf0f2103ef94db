"""What a finished final job leaves for people to see: a note and pictures in the dashboard, a record in each tracker.

As with trials, a failure in here is one line in the log, and the submission is handed in all the same.
"""

from collections.abc import Mapping

import numpy as np
import optuna
from optuna_dashboard import get_note, save_note

from foldrace.search.ensemble.job import FinalJob, FinalResult
from foldrace.search.ensemble.outcome import FinalOutcome, pictures, read_outcome
from foldrace.search.recording.recorder import attach, harmlessly, name_metric, trackers_of
from foldrace.search.recording.tracker_records import average, series
from foldrace.search.recording.trial_note import escaped, markdown_table, shown
from foldrace.search.session import Session
from foldrace.storage.trackers.protocol import Points, Record
from foldrace.trainer.training_data import TrainingData


def record_final(session: Session, number: int, data: TrainingData, done: FinalResult) -> None:
    """Record final job `number` of the session's study, whose ensemble is made."""
    with harmlessly(f"final job {number}"):
        outcome = read_outcome(FinalJob(session.study, number, session.workspace), data)
        name, storage = outcome.final.name, session.database.storage
        stored = session.database.retrying(lambda: optuna.load_study(study_name=name, storage=storage))
        if _headline(done) in get_note(stored):
            return  # this job was recorded before
        drawn = pictures(outcome)
        trackers = trackers_of(session)
        trackers.log(_record(outcome, done, drawn))
        trackers.close()
        addresses = attach(stored, drawn, session.workspace)
        name_metric(stored, session.study.search.metric)
        save_note(stored, _note(outcome, done, addresses))


def _record(outcome: FinalOutcome, done: FinalResult, drawn: dict[str, bytes]) -> Record:
    study, results = outcome.final.study, list(outcome.results.values())
    bests = [result.best.scores.accuracy for result in results]
    lists: dict[str, Points] = {f"{len(results)}-fold val best acc list": list(enumerate(bests))}
    return Record(
        name=f"final-{outcome.final.number}",
        number=None,
        state="COMPLETE",
        value=done.mean,
        parameters=study.hyperparameters({}).model_dump(),
        series=series([result.curve for result in results]) | lists | _training_accuracies(outcome),
        values=average(bests, len(results)) | {"out-of-fold accuracy": done.accuracy},
        texts={"inference_file_path": str(done.submission)},
        pictures=drawn,
    )


def _training_accuracies(outcome: FinalOutcome) -> dict[str, Points]:
    """The accuracy of each model's best weights on its own training part, at the step that they are of."""
    found: dict[str, Points] = {}
    for i, (final_fold, result) in enumerate(outcome.results.items()):
        if result.train_probabilities is not None:
            plan = outcome.data.plan(outcome.final.study.final.folds, final_fold.seed)
            labels = outcome.data.labels[plan.training(final_fold.fold)]
            accuracy = float(np.mean(result.train_probabilities.argmax(axis=1) == labels))
            found[f"{i}-th train_acc_score"] = [(result.best.step, accuracy)]
    return found


def _headline(done: FinalResult) -> str:
    low, high = done.interval
    score = f"**Out-of-fold accuracy {done.accuracy:.4f}** (95 % interval {low:.4f} to {high:.4f})"
    return f"{score}\n\nHanded in: {escaped(done.submission.name)}"


def _note(outcome: FinalOutcome, done: FinalResult, addresses: Mapping[str, str]) -> str:
    rows = [
        [final_fold.seed, final_fold.fold, f"{result.best.best:.4f}", f"{result.best.epoch:.2f}"]
        for final_fold, result in outcome.results.items()
    ]
    table = markdown_table(["seed", "fold", f"best {outcome.final.study.search.metric}", "best epoch"], rows)
    return "\n\n".join([_headline(done), table, *shown(addresses)]) + "\n"
