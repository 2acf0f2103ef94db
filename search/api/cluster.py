"""One worker under any scheduler, and the workers that Slurm starts."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from foldrace.search.api.naming import Named, as_study, find_workspace
from foldrace.search.session import VIEW, open_session, refuse_other_database
from foldrace.storage.address import IN_WORKSPACE, without_secrets
from foldrace.storage.workspace import Workspace

if TYPE_CHECKING:
    from foldrace.search.cluster.jobs import Submission


def worker(
    study: Named,
    *,
    device: str = "auto",
    seconds: float | None = None,
    workspace: str | Path | None = None,
    wait: float = 0.0,
    final: bool = False,
    hand_in: bool = False,
    requeue: bool = False,
    job: str | None = None,
    owner: str | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Be one worker of a study in this process; creates the study when it is the first.

    It ends when nothing is left to do; at Ctrl-C or SIGTERM it saves and releases its trial, at a second one neither.
    It returns the number of the signal, or 0.

    Args:
        device: `auto`, `cpu` or `cuda`.
        seconds: stop after so many; the next worker continues.
        final: train folds of the final job of the study, of which `final` then makes the ensemble.
        hand_in: with `final`, make the ensemble where all folds are trained, and no other worker did.
        requeue: as a task of Slurm, be started again where the time or the database ends before the work does.
        job: whose folds it trains, as final-1 or rescore-1; they are queued.
        owner: its unique name.
        say: gets what the ensemble gave.
    """
    from foldrace.search.cluster.life import WorkerOrder, live

    order = WorkerOrder(device, seconds, wait, final, hand_in, requeue, job, owner)
    return live(as_study(study), find_workspace(study, workspace), order, say)


def submit(
    study: Named,
    *,
    final: bool = False,
    workspace: str | Path | None = None,
    wait: float = 0.0,
    say: Callable[[str], None] = print,
) -> "Submission":
    """Submit the workers of a search to Slurm, as one job array that its section [slurm] describes.

    Args:
        final: of the final job of a study with every knob fixed; the worker that trains the last fold hands in.
        wait: seconds to wait for a database that does not answer.
        say: gets a line where the workspace's own database is started for them.

    Raises:
        SlurmError: Slurm is not there, or refuses.
        FoldraceError: something else that the user has to mend.
    """
    from foldrace.search.cluster.database import open_to_nodes, refuse_shared_file
    from foldrace.search.cluster.jobs import submit, worker_script
    from foldrace.search.cluster.slurm import refuse_absent
    from foldrace.search.launch.final import check_final
    from foldrace.search.launch.search import check_search

    asked, root = as_study(study), find_workspace(study, workspace)
    script = worker_script(asked, root, final=final)
    refuse_absent()
    (check_final if final else check_search)(asked)
    if asked.search.storage == IN_WORKSPACE:
        say(f"database  {open_to_nodes(root)}")
    refuse_shared_file(asked, Workspace(root, asked.name))
    with open_session(asked, root, wait, retries=VIEW) as session:
        if not final:
            refuse_other_database(session)
        return submit(session, script, final=final)


def batch_script(
    study: Named,
    *,
    final: bool = False,
    workspace: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> str:
    """The batch script of the workers that `submit` would submit, to submit by hand. Nothing is started.

    The study file that it names and the folder of its logs are made: they have to be there when it runs.

    Args:
        say: gets a line for the file, and for what has to be done before.

    Raises:
        FoldraceError: something that the user has to mend.
    """
    from foldrace.search.cluster.database import opening_command, refuse_shared_file
    from foldrace.search.cluster.jobs import printed_script
    from foldrace.search.launch.final import check_final
    from foldrace.search.launch.search import check_search

    asked, root = as_study(study), find_workspace(study, workspace)
    (check_final if final else check_search)(asked)
    storage = asked.search.storage
    if storage != IN_WORKSPACE:
        refuse_shared_file(asked, Workspace(root, asked.name))
    script, file = printed_script(asked, root, final=final)
    say(f"written   {file}, which the script reads")
    if storage == IN_WORKSPACE:
        say(f"database  before you submit it: {opening_command(root)}")
    elif storage is not None and without_secrets(storage) != storage:
        say("database  the file holds no password: submit the script with FOLDRACE_STORAGE set")
    return script
