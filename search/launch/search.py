"""A search before and after its workers run: what is checked, what is continued, its status at the end."""

from foldrace.search.monitor.status_reader import find_status, read_status
from foldrace.search.monitor.view import status_lines
from foldrace.search.priors.copying import copy_new_priors, read_new_priors
from foldrace.search.session import Session
from foldrace.search.study_store import open_study, refuse_fixed, study_exists
from foldrace.search.trials.heartbeat import refuse_short_lease
from foldrace.storage.errors import StorageError
from foldrace.storage.workers import set_control
from foldrace.studies.study import Study
from foldrace.trainer.data.examples import read_training


def check_search(study: Study) -> None:
    """Refuse a study that cannot be searched, before anything is made.

    Raises:
        StudyError: it searches nothing.
        StorageError: its lease is too short.
        DataError: its training file has a fault.
    """
    refuse_fixed(study)
    refuse_short_lease(study)
    read_training(study.data)


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


def closing_lines(session: Session) -> list[str]:
    """The status of a search whose workers have ended, in lines; none when no worker has made the study."""
    try:
        status = find_status(session.database, session.study.name)
    except StorageError as error:
        return [f"study     {session.study.name}: {error}; the same command continues it"]
    return [] if status is None else status_lines(status)
