"""A worker process put together: from an open session to a worker that knows what each claim asks for."""

import logging
from collections.abc import Callable

from foldrace.search.ensemble.job import fold_folder
from foldrace.search.race.factory import make_pruner
from foldrace.search.race.termination import read_expected_gain
from foldrace.search.recording.recorder import Recorder
from foldrace.search.session import Session
from foldrace.search.study_store import FinalFold, final_name, open_study, public_toml, refuse_fixed
from foldrace.search.trials.assignment import Assignment
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import Trials
from foldrace.search.trials.heartbeat import HEARTBEAT_SECONDS, refuse_short_lease
from foldrace.search.workers.worker import Worker
from foldrace.storage import workers
from foldrace.storage.workspace import atomic_write
from foldrace.trainer.modeling.classifier import check_source
from foldrace.trainer.modeling.devices import device_name, resolve_device
from foldrace.trainer.training_data import TrainingData, open_training_data

logger = logging.getLogger("foldrace.worker")


def serve(
    session: Session,
    device: str,
    final: int | None,
    owner: str | None,
    seconds_left: Callable[[], float],
    stopping: Callable[[], bool],
) -> None:
    """Be one worker of a study, or of one of its final jobs, until nothing is left to do or it must stop.

    Args:
        device: `cpu`, `cuda`, or `auto` for CUDA where there is some.
        owner: a name that nobody else ever has; None: one is made.
        final: the number of the final job; None: the search itself, made here when this worker is the first.
    """
    study = session.study
    data = open_training_data(study, session.workspace)
    check_source(data.source)
    device = resolve_device(device)
    me = workers.WorkerIdentity(device=device_name(device), owner=owner or workers.new_owner())
    if final is None:
        refuse_fixed(study)
        refuse_short_lease(study, HEARTBEAT_SECONDS)
        assign = _search_assignment(session, data)
        open_study(session.database, study)  # only now: nothing is left behind by a study that cannot run
        if owner is None:  # without a supervisor, which would have written it
            atomic_write(session.workspace.study_file, public_toml(study))
        trials = Trials(session.database, study, me, pruner=make_pruner(study))
    else:
        trials = Trials(session.database, study, me, name=final_name(study.name, final))
        assign = _final_assignment(session, data, final)
    recorder = Recorder(session, data, me, final)
    try:
        Worker(trials, data, assign, device, seconds_left, stopping, _enough(session, final), recorder).run()
        recorder.close()
        logger.info("%s", trials.meter)
    finally:
        trials.leave()


def _enough(session: Session, final: int | None) -> Callable[[], str]:
    """Why the search should end with the trials that run; empty while it should go on."""

    def enough() -> str:
        ahead = read_expected_gain(session.database, session.study)
        return f"stop_below_noise: {ahead}" if ahead is not None and ahead.is_below_noise else ""

    wanted = final is None and session.study.search.stop_below_noise
    return enough if wanted else lambda: ""


def _search_assignment(session: Session, data: TrainingData) -> Callable[[Claim], Assignment]:
    """A trial of a search: every fold, with the sampled knobs."""
    folds = session.study.folds
    plan = data.plan(folds.count, folds.seed)

    def assign(claim: Claim) -> Assignment:
        knobs = session.study.hyperparameters(claim.sampled)
        return Assignment(
            knobs,
            plan,
            tuple(range(folds.count)),
            lambda fold: session.workspace.fold(claim.number, fold),
            is_final=False,
        )

    return assign


def _final_assignment(session: Session, data: TrainingData, final: int) -> Callable[[Claim], Assignment]:
    """A trial of a final job: the one fold that its attributes name."""

    def assign(claim: Claim) -> Assignment:
        fold, seed = int(claim.user_attrs["fold"]), int(claim.user_attrs["seed"])
        plan = data.plan(session.study.final.folds, seed)
        folder = fold_folder(session.workspace.final(final).folder, FinalFold(fold, seed))
        return Assignment(session.study.hyperparameters({}), plan, (fold,), lambda _: folder, is_final=True)

    return assign
