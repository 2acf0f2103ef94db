"""A rescore: the leaders of a search are trained again on fresh folds with fresh seeds, which chose none of them.

Its folds are queued, claimed and resumed like trials. Nobody keeps its models or predicts test rows with them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from foldrace.errors import FoldraceError
from foldrace.search.assessment.assessment import Assessment
from foldrace.search.assessment.reader import read_scores
from foldrace.search.assessment.stored import store_assessment
from foldrace.search.launch.supervision import Engine, RunStopped, run_workers
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.session import Session
from foldrace.search.stored_knobs import read_knobs
from foldrace.search.study_store import (
    RESCORE,
    Fixed,
    FoldKey,
    check_same,
    fold_key,
    job_name,
    queue_job,
    read_study,
    trained_folds,
)
from foldrace.search.trials.heartbeat import refuse_short_lease
from foldrace.search.words import counted
from foldrace.search.workers.process import GIVEN_UP
from foldrace.storage import tables
from foldrace.storage.workers import set_control
from foldrace.studies.identity import Identity
from foldrace.studies.study import MAX_TRIALS, Study

_TRIALS = tables.trials.c


class RescoreError(FoldraceError):
    """The leaders cannot be trained again as asked."""


@dataclass(frozen=True)
class RescoreJob:
    """The numbers of the trials that are scored again, the leader first, and all their fresh folds."""

    trials: tuple[int, ...]
    folds: tuple[FoldKey, ...]


@dataclass(frozen=True)
class FinishedRescore:
    """A rescore whose folds are trained. As text, it is how good the leader is by now, in lines.

    Attributes:
        name: of its study in the database, as demo/rescore-1.
        trials: the numbers of those that were asked for.
        folds: fresh ones of each.
        assessment: None while too little is known.
    """

    name: str
    trials: tuple[int, ...]
    folds: int
    assessment: Assessment | None

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.trials))
        rescored = f"rescored  trial {numbers}: {counted(self.folds, 'fresh fold')} each"
        if self.assessment is None:
            return rescored
        return "\n".join([rescored, f"leader    trial {self.assessment.trial}", *self.assessment.lines])


def rescore(session: Session, engine: Engine, top: int, repeats: int, say: Callable[[str], None]) -> FinishedRescore:
    """Train what the rescore of the session's search lacks.

    Args:
        top: how many of the trials that lead by the search's own folds.
        repeats: fresh splits into folds.
        say: gets a line for the user, before the workers start.

    Raises:
        RescoreError: there is no complete trial, or nothing is asked for.
        RunStopped: by a signal.
        FoldraceError: something that the user has to mend; a fold that failed.
    """
    job = queue_rescore(session, top, repeats)
    name = job_name(session.study.name, RESCORE)
    set_control(session.database, name, "running")
    numbers = ", ".join(map(str, job.trials))
    say(f"rescoring trial {numbers} of {session.study.name}: {counted(repeats, 'fresh split')}")
    if read_status(session.database, session.study.name).unfinished:
        say("          the search has trials left: whoever leads by now is scored")
    folds = Session(rescored_study(session.study), session.workspace, session.database)
    exit_status = run_workers(folds, engine, RESCORE)
    if exit_status > GIVEN_UP:
        raise RunStopped(exit_status, f"{name}: stopped; the same command continues it")
    _refuse_untrained(session, name, job)
    assessment = store_assessment(session.database, session.study.name)
    return FinishedRescore(name, job.trials, len(job.folds) // len(job.trials), assessment)


def queue_rescore(session: Session, top: int, repeats: int) -> RescoreJob:
    """Queue the fresh folds of the leaders that are not queued yet.

    The leaders are those of the search's own folds: asked again, it finds the same ones.

    Raises:
        RescoreError: as `rescore`.
        StorageError: the search has other settings.
    """
    study = session.study
    if top < 1 or repeats < 1:
        raise RescoreError(f"--top {top} --repeats {repeats}: at least one trial and one fresh split are trained")
    refuse_short_lease(study)
    check_same(session.database, study.name, Identity.of(study))
    scores = read_scores(session.database, study.name, with_rescore=False)
    leaders = scores.leaders[:top]
    if not leaders:
        raise RescoreError(f"study {study.name}: no trial is complete yet, so there is none to score again")
    if len(leaders) * repeats * study.folds.count > MAX_TRIALS:
        fits = MAX_TRIALS // (len(leaders) * study.folds.count)
        raise RescoreError(f"--repeats {repeats}: at most {fits} of {len(leaders)} trials of {study.folds.count} folds")

    wanted = _folds(study, _read_knobs(session, leaders), repeats)
    queue_job(session.database, job_name(study.name, RESCORE), rescored_study(study), wanted)
    return RescoreJob(tuple(leaders), tuple(wanted))


def _read_knobs(session: Session, numbers: Sequence[int]) -> dict[int, Fixed]:
    """The searched knobs of some trials, in this order."""

    def work(connection: sa.Connection) -> dict[int, Fixed]:
        study_id = read_study(connection, session.study.name).study_id
        found = read_knobs(connection, sa.and_(_TRIALS.study_id == study_id, _TRIALS.number.in_(numbers)))
        return {number: found[number] for number in numbers}

    return session.database.read(work)


def _folds(study: Study, knobs: Mapping[int, Fixed], repeats: int) -> dict[FoldKey, Fixed]:
    """Each fold of each repeat of some trials, with the knobs of its trial: whole splits first."""
    found = {}
    for repeat in range(1, repeats + 1):
        seed = fresh_seed(study, repeat)
        for number, given in knobs.items():
            for fold in range(study.folds.count):
                found[fold_key({"trial": number, "repeat": repeat, "fold": fold, "seed": seed})] = given
    return found


def rescored_study(study: Study) -> Study:
    """The study as the workers of its rescore run it: each of its trials is one fold of a search's split."""
    final = study.final.model_copy(update={"folds": study.folds.count, "validation": True})
    return study.model_copy(update={"final": final})


def fresh_seed(study: Study, repeat: int) -> int:
    """The seed of a fresh split, its weights and batches: none that the search or its final job has."""
    used, number = {study.folds.seed, *study.final.seeds}, 0
    while True:
        text = f"rescore/{study.folds.seed}/{repeat}/{number}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 2  # as a seed of a study file may be
        if seed not in used:
            return seed
        number += 1


def _refuse_untrained(session: Session, name: str, job: RescoreJob) -> None:
    status = read_status(session.database, name)
    if status.unfinished:
        raise FoldraceError(f"{name}: stopped before its folds were done; the same command continues")
    if not trained_folds(session.database, name).issuperset(job.folds):
        failed = "; ".join(sorted({failure.reason for failure in status.failures}))
        raise FoldraceError(f"{name}: folds failed ({failed}); the same command trains them again")
