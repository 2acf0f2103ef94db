"""Joins the votes of a final job's folds and writes the result: out-of-fold tables, the submission, a summary."""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from foldrace.search.ensemble.comparison import ComparableJob, find_comparable
from foldrace.search.ensemble.job import LABELS_FILE, STUDY_FILE, SUMMARY_FILE, FinalJob, fold_folder
from foldrace.search.ensemble.outcome import FinalOutcome, read_outcome
from foldrace.search.study_store import public_toml
from foldrace.storage.files.atomic import PARTIAL, atomic_write
from foldrace.storage.files.digests import digest_of
from foldrace.studies.study import Metric
from foldrace.trainer.arrays import FloatArray
from foldrace.trainer.data.labels import read_labels
from foldrace.trainer.ensemble import OutOfFold, per_class_report, vote
from foldrace.trainer.metrics import Scores
from foldrace.trainer.submission import (
    oof_csv,
    submission_name,
    submission_text,
    test_probabilities_csv,
    write_submission,
)
from foldrace.trainer.training_data import TrainingData

UNSCORED = "no score: every model is trained on all rows, so none is left to judge it"


@dataclass(frozen=True)
class FinalScore:
    """The out-of-fold score of a final job.

    Attributes:
        metric: of the study.
        scores: out of fold.
        folds: each model's best evaluation, by the metric.
        luck: by how much the accuracy is too good, as each model is the best of its evaluations on these rows; None:
            not known, as with every other metric.
        interval: of 95 %, of the accuracy without that luck.
        scored: the number of rows that it is of.
        unscored_labels: the classes without a scored row: too rare to be in every fold, they are only trained on.
    """

    metric: Metric
    scores: Scores
    folds: tuple[float, ...]
    luck: float | None
    interval: tuple[float, float]
    scored: int
    unscored_labels: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        return self.scores.accuracy

    @property
    def words(self) -> str:
        """The score by the study's metric, and beside another one the accuracy."""
        return self.scores.words(self.metric)

    @property
    def mean(self) -> float:
        return statistics.mean(self.folds)

    @property
    def deviation(self) -> float:
        """The standard deviation between folds."""
        return statistics.stdev(self.folds)


@dataclass(frozen=True)
class FinalResult:
    """The result of a final job.

    Attributes:
        models: how many vote.
        score: None where all models were trained on all rows.
        comparable: without a score, an earlier job of the same settings that has one; None without such a job.
        submission: the submission file.
    """

    models: int
    score: FinalScore | None
    comparable: ComparableJob | None
    submission: Path


def make_ensemble(job: FinalJob, data: TrainingData) -> FinalResult:
    """Join the votes of all folds and write the result. Repeating it changes nothing.

    Raises:
        ResultError: the result of a fold is missing or damaged.
        FinalError: a fold was trained on other data.
    """
    with job.workspace.lock("ensemble"):
        outcome = read_outcome(job, data)
        answers = [result.test_probabilities for result in outcome.results.values()]
        votes = vote([answer for answer in answers if answer is not None], job.study.final.vote)
        _write_tables(outcome, votes)
        score = None if outcome.scored is None else _score(outcome, outcome.scored)
        comparable = find_comparable(job, data.identity) if score is None else None
        result = FinalResult(len(outcome.results), score, comparable, _write_submission(outcome, votes))
        _write_summary(outcome, result)
        return result


def _score(outcome: FinalOutcome, answers: OutOfFold) -> FinalScore:
    held_out = set(answers.labels.tolist())
    return FinalScore(
        metric=outcome.job.study.search.metric,
        scores=outcome.scores(answers),
        folds=tuple(trained.best.best for trained in outcome.results.values()),
        luck=outcome.luck,
        interval=answers.accuracy_interval(outcome.luck or 0.0),
        scored=len(np.unique(answers.scored)),
        unscored_labels=tuple(name for label, name in enumerate(outcome.class_names) if label not in held_out),
    )


def _write_tables(outcome: FinalOutcome, votes: FloatArray) -> None:
    folder, data, scored = outcome.job.folder, outcome.data, outcome.scored
    labels, ids = data.examples.labels, [row.id for row in data.examples.rows]
    report = UNSCORED + "\n"
    if scored is not None:
        atomic_write(folder / "oof.csv", oof_csv(scored, ids, labels))
        score = outcome.scores(scored).words(outcome.job.study.search.metric)
        report = f"out of fold: {score}\n\n{per_class_report(scored.probabilities, scored.labels, labels.names)}"
    atomic_write(folder / "test_probabilities.csv", test_probabilities_csv(_test_ids(data), votes, labels))
    codes = dict(zip(labels.names, labels.codes, strict=True))
    atomic_write(folder / LABELS_FILE, json.dumps(codes, ensure_ascii=False, indent=2) + "\n")
    atomic_write(folder / "report.txt", report)


def _write_submission(outcome: FinalOutcome, votes: FloatArray) -> Path:
    """The submission file: one with the same bytes that is there already, or else a new one in a folder of its own."""
    study, data = outcome.job.study, outcome.data
    excluded = len(study.data.exclude_labels)
    text = submission_text(study.final.form(data.examples.task), _test_ids(data), votes, data.examples.labels, excluded)
    parent = outcome.job.workspace.folder / "submissions"
    for partial in parent.glob(f"{PARTIAL}*"):
        rmtree(partial, ignore_errors=True)  # the unfinished folder of an ensemble that was killed
    for path in sorted(parent.glob("*/*.csv")):
        if path.parent.is_symlink() or path.is_symlink() or not path.is_file():
            continue  # what lies elsewhere may change
        if path.read_bytes() == text.encode():
            return path
    final = study.final
    voters = f"{final.folds}fold" if final.validation else f"{len(final.seeds)}seed"
    return write_submission(parent, submission_name(voters, study.model.name), text)


def _write_summary(outcome: FinalOutcome, result: FinalResult) -> None:
    job, score = outcome.job, result.score
    summary: dict[str, Any] = {"unscored": UNSCORED}
    if score is not None:
        summary = asdict(score)
        summary |= summary.pop("scores")
        summary |= {"mean": score.mean, "sd": score.deviation}
    summary |= {"vote": job.study.final.vote}
    submission = str(result.submission.relative_to(job.workspace.folder))
    summary |= {"seeds": job.study.final.seeds, "submission": submission, "task": outcome.data.examples.task}
    atomic_write(job.folder / STUDY_FILE, public_toml(job.study))
    summary |= {"labels": read_labels(job.folder / LABELS_FILE).digest, "study": digest_of(job.folder / STUDY_FILE)}
    models = {fold_folder(Path(), fold).as_posix(): dict(found.model) for fold, found in outcome.results.items()}
    summary |= {"models": models}
    atomic_write(job.folder / SUMMARY_FILE, json.dumps(summary, indent=2) + "\n")


def _test_ids(data: TrainingData) -> list[str]:
    return [] if data.test is None else [row.id for row in data.test.rows]
