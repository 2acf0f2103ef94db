"""A final job before and after its workers run: what is checked, what is queued, what it gave."""

from dataclasses import dataclass

from foldrace.errors import FoldraceError
from foldrace.search.ensemble.job import (
    FinalJob,
    find_final_job,
    queue_final_job,
    queue_new_folds,
    refuse_unfit,
    write_first_study,
)
from foldrace.search.ensemble.result import UNSCORED, FinalResult, FinalScore, make_ensemble
from foldrace.search.launch import supervision
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.recording.final_recorder import record_final
from foldrace.search.session import Session
from foldrace.search.study_store import check_same, stored_study, study_exists
from foldrace.search.trials.heartbeat import refuse_short_lease
from foldrace.search.workers.process import GIVEN_UP
from foldrace.storage.database import Database
from foldrace.storage.workers import set_control
from foldrace.studies.study import Study
from foldrace.trainer.data.extra import read_data, warn_of_test_copies
from foldrace.trainer.ensemble import interval_words
from foldrace.trainer.submission import check_form
from foldrace.trainer.training_data import TrainingData, excluded_rows, invented_codes, open_training_data


@dataclass(frozen=True)
class FinishedFinal:
    """A final job whose ensemble is made. As text, it is what it gave, in lines.

    Attributes:
        has_chosen: a search of its name chose by folds that it has too.
    """

    job: FinalJob
    data: TrainingData
    result: FinalResult
    has_chosen: bool

    def __str__(self) -> str:
        return "\n".join(result_lines(self.job, self.data, self.result, self.has_chosen))


def check_final(study: Study) -> list[str]:
    """Refuse a final job that cannot be run, before anything is queued; returns what to know before, in lines.

    Raises:
        FinalError: a knob is still searched, or there is no test file.
        StorageError: its lease is too short.
        DataError: the training file or the test file has a fault.
        SubmissionError: the submission has no place for a label's code, or its sample has other rows.
    """
    refuse_unfit(study)
    refuse_short_lease(study)
    examples, test = read_data(study.data)
    if test is not None:
        ids = [row.id for row in test.rows]
        check_form(study.final.form(examples.task), ids, examples.labels, len(study.data.exclude_labels))
    return warn_of_test_copies(examples, test)


def finish(session: Session, engine: supervision.Engine) -> FinishedFinal:
    """Train what the final job of the session's study lacks, and make its ensemble.

    Raises:
        RunStopped: by a signal.
        FoldraceError: something that the user has to mend; a fold that failed.
    """
    job = begin_final(session)
    session = Session(job.study, session.workspace, session.database)
    exit_status = supervision.run_workers(session, engine, f"final-{job.number}")
    if exit_status > GIVEN_UP:  # without one worker, the others may have trained all folds
        raise supervision.RunStopped(exit_status, f"{job.name}: stopped; the same command continues it")
    return _hand_in(session, job)


def hand_in(session: Session) -> FinishedFinal | None:
    """Make the ensemble of a final job whose folds are trained; None where they are not, or it is made already.

    Args:
        session: that of `join_final`.

    Raises:
        FoldraceError: a fold failed.
    """
    job = find_final_job(session.study, session.database, session.workspace)
    if read_status(session.database, job.name).unfinished:
        return None
    with job.workspace.lock("hand-in"):
        return None if job.is_handed_in else _hand_in(session, job)


def _hand_in(session: Session, job: FinalJob) -> FinishedFinal:
    refuse_untrained(job, session.database)
    data = open_training_data(job.study, job.workspace)
    check_same(session.database, job.name, data.identity)  # the rows' ids and codes go into the submission
    result = make_ensemble(job, data)
    record_final(session, job, data, result)
    return FinishedFinal(job, data, result, _has_chosen(session.database, job))


def _has_chosen(database: Database, job: FinalJob) -> bool:
    if not study_exists(database, job.study.name):
        return False
    searched, own = (stored_study(database, name) for name in (job.study.name, job.name))
    of_split = [key for key in own.identity.values if key.startswith(("data.", "folds.")) and key != "data.test"]
    is_same = all(own.identity.values[key] == searched.identity.values.get(key) for key in of_split)
    return is_same and searched.parse().folds.seed in job.study.final.seeds


def begin_final(session: Session) -> FinalJob:
    """Queue the missing folds of the session's final job, and let its workers go on; raises as `queue_final_job`."""
    job = queue_final_job(session.study, session.database, session.workspace)
    set_control(session.database, job.name, "running")
    return job


def join_final(session: Session) -> tuple[Session, str]:
    """For one worker more: the session of the study's final job, and the job's name, as final-1.

    The job begins where nobody has begun it, and gets the folds of further seeds. Raises as `check_final` and
    `find_final_job`.
    """
    check_final(session.study)
    job = find_final_job(session.study, session.database, session.workspace)
    queue_new_folds(job, session.database)
    write_first_study(job.folder, job.study)
    return Session(job.study, session.workspace, session.database), f"final-{job.number}"


def refuse_untrained(job: FinalJob, database: Database) -> None:
    """Raise FoldraceError unless every fold of a final job is trained, and its files are there."""
    status, missing = read_status(database, job.name), job.missing
    if status.unfinished:
        raise FoldraceError(f"{job.name}: stopped before its folds were done; the same command continues")
    if missing:
        failed = "; ".join(sorted({failure.reason for failure in status.failures})) or "their files are gone"
        raise FoldraceError(f"{job.name}: folds failed ({failed}); foldrace final trains them again")


def result_lines(job: FinalJob, data: TrainingData, result: FinalResult, has_chosen: bool) -> list[str]:
    """What a final job gave, in lines; `has_chosen` as in `FinishedFinal`."""
    lines = [
        f"tokens    {data.describe_unknown()}",
        *(_unscored_lines(result) if result.score is None else _scored_lines(job, data, result.score, has_chosen)),
        *_excluded_lines(data),
        f"files     {job.folder}",
        f"submit    {result.submission}",
    ]
    if invented_codes(data):
        lines.append(f"labels    {invented_codes(data)}")
    if job.study.folds.leaky_oversampling and result.score is not None:
        lines.append("leaky_oversampling: copies cross the folds, so these scores are optimistic")
    return lines


def _unscored_lines(result: FinalResult) -> list[str]:
    comparable = [] if result.comparable is None else [f"beside    {result.comparable}"]
    return [f"models    {result.models}, of one seed each", f"score     {UNSCORED}", *comparable]


def _scored_lines(job: FinalJob, data: TrainingData, score: FinalScore, has_chosen: bool) -> list[str]:
    metric = job.study.search.metric
    folds = f"folds     {len(score.folds)}: mean {metric} {score.mean:.4f} (sd {score.deviation:.4f})"
    others = "          other folds than the search's, so not comparable with its score"
    own = "          the folds by which the search chose: optimistic for that, too"
    return [folds, *score_lines(score), *_scope_lines(data, score), own if has_chosen else others]


def score_lines(result: FinalScore) -> list[str]:
    """The out-of-fold score of a final job, the interval of its accuracy, and that without luck."""
    oof = f"oof       out-of-fold {result.words}"
    interval = f"({interval_words(result.interval, result.metric)})"
    picked = "each model is the best of its evaluations on these very rows"
    if result.luck is None:
        unknown = "" if result.metric == "accuracy" else f", by how much is not known of {result.metric}"
        return [f"{oof} {interval}", f"          a little optimistic{unknown}: {picked}"]
    honest = f"honest    {result.accuracy - result.luck:.4f} without that luck {interval}, of single models;"
    return [f"{oof}, optimistic: {picked}", f"{honest} their vote is likely better"]


def _scope_lines(data: TrainingData, result: FinalScore) -> list[str]:
    """Which rows the out-of-fold score is of."""
    rows, classes, unscored = len(data.examples.rows), len(data.examples.labels.names), result.unscored_labels
    lines = []
    if result.scored < rows:
        lines.append(f"          of {result.scored} of {rows} rows: the others are only trained on, beside each fold")
    if unscored:
        lines.append(f"          too rare to score: {len(unscored)} of {classes} classes ({', '.join(unscored)})")
    return lines


def _excluded_lines(data: TrainingData) -> list[str]:
    """Which rows are left out for their labels, and which test rows cannot be right."""
    lines = []
    test = data.test
    if data.study.data.exclude_labels:
        lines.append(f"excluded  {excluded_rows(data)}; no test row is given it")
    if test is not None and test.outside:
        lines.append(f"          {test.outside} of {len(test.rows)} test rows have such a label, and cannot be right")
    return lines
