"""A worker process put together: from an open session to a worker that knows what each claim asks for."""

import logging
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass

from optuna.pruners import BasePruner

from foldrace.search.ending import SearchEnd, may_end, read_end
from foldrace.search.ensemble.job import fold_folder
from foldrace.search.priors.copying import copy_new_priors
from foldrace.search.race.factory import make_pruner
from foldrace.search.recording.recorder import Recorder
from foldrace.search.sampler.stored_priors import StoredPriors
from foldrace.search.session import Session
from foldrace.search.study_store import (
    RESCORE,
    FinalFold,
    check_same,
    job_name,
    note_tokens,
    open_study,
    public_toml,
    refuse_fixed,
)
from foldrace.search.trials.assignment import Assignment
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import Trials, TrialsSettings
from foldrace.search.trials.heartbeat import USUAL, HeartbeatSettings, refuse_short_lease
from foldrace.search.trials.outage_notes import OutageNotes
from foldrace.search.workers.fold_run import WorkerSetup
from foldrace.search.workers.worker import Worker
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.optuna_rows import find_study_id
from foldrace.storage.tables import WHOLE
from foldrace.storage.workers import WorkerIdentity, new_owner
from foldrace.trainer.modeling.classifier import check_source
from foldrace.trainer.modeling.devices import device_name, resolve_device
from foldrace.trainer.training_data import TrainingData, open_training_data

logger = logging.getLogger("foldrace.worker")


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker process is asked to be.

    Attributes:
        device: `cpu`, `cuda`, or `auto` for CUDA where there is some.
        job: whose folds it trains: final-1, or rescore-1; None: it runs the trials of the search.
        owner: a name that nobody else ever has, from the supervisor that started it; None: there is none.
    """

    device: str = "auto"
    job: str | None = None
    owner: str | None = None
    heartbeat: HeartbeatSettings = USUAL


def run_worker(session: Session, options: WorkerOptions, should_stop: Callable[[], bool]) -> None:
    """Be one worker of a study, or of one of its final jobs, until nothing is left to do or it should stop.

    The first worker of a search makes its study.

    Raises:
        FoldraceError: the user has to mend something, or the database does not answer (OutageError).
        NoRoomError: the device has no room for the model.
    """
    study = session.study
    session.workspace.refuse_links()
    session.database.disconnect()  # until the data is read
    data = open_training_data(study, session.workspace)
    check_source(data.source, *study.furthest)
    data.refuse_unknown()
    device = resolve_device(options.device)
    find_end = _find_end(session, options)
    setup = WorkerSetup(data, device, study.search.checkpoint_minutes * 60, should_stop, find_end)
    identity = WorkerIdentity(device=device_name(device), owner=options.owner or new_owner())
    outages = OutageNotes(session.workspace.folder / "outages")
    if options.job is None:
        assign = _search_assignment(session, data)
        _open_search(session, data, options)  # only now: nothing is left behind by a study that cannot run
        settings = TrialsSettings(pruner=_make_pruner(session), outages=outages, by_folds=study.search.is_by_folds)
    else:
        check_same(session.database, job_name(study.name, options.job), data.identity)
        assign = (_rescore_assignment if options.job == RESCORE else _final_assignment)(session, data, options.job)
        settings = TrialsSettings(job_name(study.name, options.job), outages=outages)
    trials = Trials(session.database, study, identity, settings, options.heartbeat)
    with ExitStack() as stack:
        stack.callback(trials.leave)
        recorder = stack.enter_context(closing(Recorder(session, data, identity, options.job)))
        Worker(trials, setup, assign, recorder).run()
        recorder.draw_last()
        logger.info("%s", trials.timer)


def _open_search(session: Session, data: TrainingData, options: WorkerOptions) -> None:
    refuse_short_lease(session.study, options.heartbeat)
    begin_search(session, data)
    if options.owner is None or not session.workspace.study_file.is_file():  # a supervisor or `submit` writes it
        atomic_write(session.workspace.study_file, public_toml(session.study))


def begin_search(session: Session, data: TrainingData) -> None:
    """Make the study of a session, or find it again; its data has been read.

    Raises:
        FoldraceError: it searches nothing, there is another one of its name, or a prior cannot be read.
    """
    refuse_fixed(session.study)
    open_study(session.database, session.study, data.identity)
    note_tokens(session.database, session.study.name, data.describe_unknown())
    for prior in copy_new_priors(session):
        logger.info("prior %s", prior)


def _make_pruner(session: Session) -> BasePruner:
    study, database = session.study, session.database
    priors = StoredPriors(database, database.read(lambda connection: find_study_id(connection, study.name)), study)
    return make_pruner(study, lambda: [trial.curves for trial in priors.read().taken_over])


def _find_end(session: Session, options: WorkerOptions) -> Callable[[], SearchEnd | None]:
    """Asks the database why the search should end; None while it should go on, as a final job always should."""
    study = session.study
    if options.job is not None or not may_end(study.search):
        return lambda: None
    return lambda: session.database.read(lambda c: read_end(c, find_study_id(c, study.name), study))


def _search_assignment(session: Session, data: TrainingData) -> Callable[[Claim], Assignment]:
    """A fold of a trial of a search, or every fold, with the sampled knobs."""
    folds = session.study.folds
    plan = data.plan(folds.count, folds.seed)

    def assign(claim: Claim) -> Assignment:
        return Assignment(
            session.study.hyperparameters(claim.sampled),
            plan,
            tuple(range(folds.count)) if claim.fold == WHOLE else (claim.fold,),
            lambda fold: session.workspace.fold(claim.number, fold),
            is_final=False,
        )

    return assign


def _final_assignment(session: Session, data: TrainingData, job: str) -> Callable[[Claim], Assignment]:
    """A trial of a final job: the one fold that its attributes name."""

    def assign(claim: Claim) -> Assignment:
        fold, seed = int(claim.user_attrs["fold"]), int(claim.user_attrs["seed"])
        plan = data.final_plan(seed)
        folder = fold_folder(session.workspace.job(job).folder, FinalFold(fold, seed))
        return Assignment(session.study.hyperparameters({}), plan, (fold,), lambda _: folder, is_final=True)

    return assign


def _rescore_assignment(session: Session, data: TrainingData, job: str) -> Callable[[Claim], Assignment]:
    """A trial of a rescore: one fold of a fresh split, with the knobs of the trial that is scored again."""

    def assign(claim: Claim) -> Assignment:
        scored, repeat, fold, seed = (int(claim.user_attrs[name]) for name in ("trial", "repeat", "fold", "seed"))
        folder = session.workspace.job(job).trial(scored) / f"repeat-{repeat}" / f"fold-{fold}"
        plan, knobs = data.plan(session.study.folds.count, seed), session.study.hyperparameters(claim.sampled)
        return Assignment(knobs, plan, (fold,), lambda _: folder, is_final=False)

    return assign
