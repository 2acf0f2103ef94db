"""A search before and after its workers run: what is checked, what is continued, its status at the end."""

from collections.abc import Callable
from dataclasses import dataclass

from foldrace.search.launch.supervision import Engine, RunStopped, run_workers
from foldrace.search.monitor.completion import what_is_missing
from foldrace.search.monitor.status import StudyStatus
from foldrace.search.monitor.status_reader import find_status, read_status, with_assessment
from foldrace.search.priors.copying import copy_new_priors, read_new_priors
from foldrace.search.session import Session
from foldrace.search.study_store import open_study, read_tokens, refuse_fixed, study_exists
from foldrace.search.trials.heartbeat import refuse_short_lease
from foldrace.search.workers.process import GIVEN_UP
from foldrace.storage.errors import StorageError
from foldrace.storage.trackers.protocol import NOTICES
from foldrace.storage.workers import set_control
from foldrace.studies.durations import TimeLimit
from foldrace.studies.study import Study
from foldrace.trainer.data.extra import read_data

_TIME_OVER = "the time of --hours is over; the same command continues it"
UNDONE = 1  # the exit status of a run that has not done what was asked for


@dataclass(frozen=True)
class FinishedSearch:
    """A search whose workers have ended. As text, it is its status in lines.

    Attributes:
        exit_status: 0 where all is done, or the user stopped it; 1 where something is missing, or a worker crashed too
            often and was given up; 75 where the database does not answer any more.
        status: None when no worker has made the study, or the database does not answer any more.
        error: what is missing of what was asked for, or why the database does not answer; else empty.
        tokens: what is said of the tokens of its data; empty where nothing is.
        stopped: why it ended before its work was done, where the user wanted that; else empty.
    """

    exit_status: int
    status: StudyStatus | None
    error: str = ""
    tokens: str = ""
    stopped: str = ""

    def __str__(self) -> str:
        tokens = f"tokens    {self.tokens}\n" if self.tokens else ""
        missing = f"\nnot done  {self.error}" if self.error else ""
        stopped = f"\nstopped   {self.stopped}" if self.stopped else ""
        return self.error if self.status is None else f"{tokens}{self.status}{missing}{stopped}"


def check_search(study: Study) -> None:
    """Refuse a study that cannot be searched, before anything is made.

    Raises:
        StudyError: it searches nothing.
        StorageError: its lease is too short.
        DataError: a file of its data has a fault.
    """
    refuse_fixed(study)
    refuse_short_lease(study)
    read_data(study.data)


def search(session: Session, engine: Engine, seconds: float | None, say: Callable[[str], None]) -> FinishedSearch:
    """Run the workers of a search until nothing is left to do or so many seconds are over.

    Args:
        say: gets a line for the user, before the workers start.

    Raises:
        RunStopped: by a signal.
        FoldraceError: something that the user has to mend.
    """
    limit, wanted = TimeLimit(seconds), session.study.search
    for line in [f"tracker   {kind}: {NOTICES[kind]}" for kind in wanted.trackers if kind in NOTICES]:
        say(line)
    for line in prior_lines(session):
        say(line)
    queued = continue_search(session)
    if queued > wanted.trials:
        say(f"budget    {queued} trials were asked for before; search.trials = {wanted.trials} takes none back")
    exit_status = run_workers(session, engine, seconds_left=limit.seconds_left)
    is_limit_over = limit.seconds_left() < 1  # that of a worker is in whole seconds
    finished = close_search(session, exit_status, was_to_stop=is_limit_over)
    if exit_status > GIVEN_UP:
        continues = "" if finished.status is None else "\nstopped   the same command continues it"
        raise RunStopped(exit_status, f"{finished}{continues}")
    return finished


def make_search(session: Session) -> None:
    """Make the study before its workers start, which may read copies of its data at places of their own.

    Raises:
        FoldraceError: its data, its model or a prior cannot be read, or there is another study of its name.
    """
    from foldrace.search.workers.entrypoint import begin_search
    from foldrace.trainer.training_data import open_training_data

    if not study_exists(session.database, session.study.name):
        data = open_training_data(session.study, session.workspace)
        data.refuse_unknown()
        begin_search(session, data)


def continue_search(session: Session) -> int:
    """Queue what the budget of a study lacks, and let its workers go on; returns the number of its trials.

    Where there is no study yet, nothing is done: the first worker that can run it makes it.

    Raises:
        StorageError: there is another study of this name.
        FoldraceError: the source of a prior cannot be read.
    """
    study, database = session.study, session.database
    if not study_exists(database, study.name):
        return 0
    open_study(database, study)
    copy_new_priors(session)
    set_control(database, study.name, "running", finals=False)
    return read_status(database, study.name).total


def prior_lines(session: Session) -> list[str]:
    """How the study will use each prior that it does not have yet, in lines.

    Raises:
        FoldraceError: the source of one cannot be read.
    """
    return [f"prior     {prior}" for prior in read_new_priors(session)]


def close_search(session: Session, exit_status: int, *, was_to_stop: bool = False) -> FinishedSearch:
    """What there is of a search whose workers have ended.

    Args:
        exit_status: of the workers.
        was_to_stop: the user limited its time.
    """
    name = session.study.name
    try:
        status = find_status(session.database, name)
        if status is None:
            gone = "not in its database: no worker has made it, or another program has deleted or renamed it"
            told = _TIME_OVER if was_to_stop else "nothing was begun" if exit_status > GIVEN_UP else gone
            return FinishedSearch(exit_status or UNDONE, None, f"study     {name}: {told}")
        status = with_assessment(session.database, status)
        tokens, missing = read_tokens(session.database, name), ""
        if exit_status <= GIVEN_UP:  # not stopped by a signal
            missing = what_is_missing(status, was_to_stop=was_to_stop)
        stopped = _TIME_OVER if was_to_stop and not exit_status and status.state != "done" else ""
        return FinishedSearch(exit_status or UNDONE * bool(missing), status, missing, tokens, stopped)
    except StorageError as error:
        continues = f"study     {name}: {error}; the same command continues it"
        return FinishedSearch(exit_status or error.status, None, continues)
