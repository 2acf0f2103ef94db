"""One life of a worker process, from its first look at the database to what it leaves to the next one."""

import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from foldrace.search.cluster.requeue import Life, requeued
from foldrace.search.session import Session, open_session, refuse_other_database
from foldrace.search.workers.signals import handle_signals
from foldrace.storage.outages import RetryPolicy
from foldrace.storage.workers import new_owner
from foldrace.storage.workspace import Workspace
from foldrace.studies.durations import TimeLimit
from foldrace.studies.study import Study


@dataclass(frozen=True)
class WorkerOrder:
    """What a worker process is asked for: the arguments of `foldrace.worker`."""

    device: str
    seconds: float | None
    wait: float
    final: bool
    hand_in: bool
    requeue: bool
    job: str | None
    owner: str | None


def live(study: Study, root: Path, order: WorkerOrder, say: Callable[[str], None]) -> int:
    """Be one worker until nothing is left to do, or it should stop; returns the number of the signal, or 0.

    Args:
        root: the folder of all runs.
        say: gets what the ensemble of a final job gave, where this worker made it.
    """
    life, limit = Life(), TimeLimit(order.seconds)

    def should_stop() -> bool:
        return life.signals.requested or limit.is_over()

    guard = requeued(Workspace(root, study.name), life) if order.requeue else nullcontext()
    retries = RetryPolicy(should_stop=should_stop)
    with handle_signals(life.signals.receive), guard, open_session(study, root, order.wait, retries=retries) as session:
        _work(session, order, life, should_stop, say)
        if order.requeue and limit.is_over() and life.work_left and not life.signals.requested:
            life.signals.number = signal.SIGTERM  # its own time limit ends it as Slurm's would
    return life.signals.number


def _work(
    session: Session, order: WorkerOrder, life: Life, should_stop: Callable[[], bool], say: Callable[[str], None]
) -> None:
    with _without_garbage_collection():
        from foldrace.search.launch.final import hand_in, join_final
        from foldrace.search.workers.entrypoint import WorkerOptions, run_worker

    job, owner = order.job, order.owner or (new_owner() if order.requeue else None)
    if order.final:
        session, job = join_final(session)
    elif job is None:
        refuse_other_database(session)
    with life.observed(session, job, owner):
        run_worker(session, WorkerOptions(order.device, job, owner), should_stop)
    finished = hand_in(session) if order.final and order.hand_in else None  # a signal leaves time for it
    if finished is not None:
        say(str(finished))


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Garbage collection is off: it takes a fifth of the time in which torch and transformers are imported."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
