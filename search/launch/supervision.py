"""Runs the workers of a search or a final job, and shows their progress meanwhile.

The workers are looked after in this thread. The database is polled in another one: it may not answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from foldrace.errors import FoldraceError
from foldrace.search.launch.lost_files import watch_files
from foldrace.search.monitor.live import open_view
from foldrace.search.monitor.poller import StatusPoller
from foldrace.search.monitor.status_reader import find_status
from foldrace.search.session import Session
from foldrace.search.study_store import job_name
from foldrace.search.workers.command import WorkerCommand, storage_in_environment, work_on
from foldrace.search.workers.slots import Slot
from foldrace.search.workers.supervisor import Crew, Snapshot, Supervisor, local_crew
from foldrace.storage.leases.lease import mark_orphaned

Engine = Callable[[WorkerCommand, Path], Crew]  # where a run's workers are; given their command and folder of logs


@dataclass(frozen=True)
class EngineOptions:
    """How many workers a run has, and on what.

    Attributes:
        workers: on a Ray cluster also 4..16; None for as many as there is room for.
        devices: `auto` for a GPU each where there are some, `cpu`, or CUDA indices of this machine.
        per_device: workers that share each GPU; on a Ray cluster without any, each CPU.
        address: of a Ray cluster; None for the one that this machine belongs to.
    """

    workers: int | str | None
    devices: str
    per_device: int
    address: str | None


def local_engine(slots: Sequence[Slot]) -> Engine:
    """A worker process in each slot of this machine."""
    return lambda command, logs: local_crew(command, slots, logs)


class RunStopped(KeyboardInterrupt):
    """A signal stopped a run. Its workers saved and released what they had; the same call continues.

    Attributes:
        exit_status: 130 after SIGINT, 143 after SIGTERM.
    """

    def __init__(self, exit_status: int, message: str) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def run_workers(
    session: Session,
    engine: Engine,
    job: str | None = None,
    seconds_left: Callable[[], float] = lambda: float("inf"),
) -> int:
    """Run the workers of an engine until nothing is left to do or the time is over; none where all trials have ended.

    Args:
        job: whose folds they train, as final-1 or rescore-1; None: they run the trials of the session's study.
        seconds_left: what a worker that is started now has left.

    Returns the exit status of the run; see `Supervisor.run`.

    Raises:
        FoldraceError: a worker met what the user has to mend, files were removed, or another run is at work there.
    """
    workspace = session.workspace if job is None else session.workspace.job(job)
    name = session.study.name if job is None else job_name(session.study.name, job)
    if (found := find_status(session.database, name)) and found.total and not found.unfinished:
        return 0
    with work_on(session, job) as study_file, storage_in_environment(session), open_view() as view:
        command = WorkerCommand(study_file, session.workspace.root, job, seconds_left)
        supervisor = Supervisor(engine(command, workspace.folder / "logs"))
        poller, files = _poller(session, name, command), watch_files(session, study_file)

        def tick(snapshot: Snapshot) -> None:
            files.refuse_lost()
            poller.observe(snapshot)
            view.show(poller.status, snapshot, poller.stale_reason)

        with poller:
            status = supervisor.run(tick)
        tick(supervisor.snapshot())  # with the last status that was polled
    if status:
        view.leave_problems(supervisor.snapshot(), poller.stale_reason)
    refused = [worker.note for worker in supervisor.snapshot().workers if worker.state == "refused"]
    if refused:
        raise FoldraceError(refused[0].removeprefix("foldrace: "))
    return status


def _poller(session: Session, name: str, command: WorkerCommand) -> StatusPoller:
    database = session.database
    return StatusPoller(
        lambda: find_status(database, name),
        owner_in=lambda slot: command.owners.get(slot.index),
        mark_dead=partial(mark_orphaned, database),
    )
