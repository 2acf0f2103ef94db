"""Submits the workers of a run to Slurm."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from foldrace.search.cluster.script import job_script, refuse_short_time
from foldrace.search.cluster.slurm import FOLDER, partition_of, submit_script
from foldrace.search.ensemble.job import find_final_job, write_first_study
from foldrace.search.launch.final import begin_final
from foldrace.search.launch.search import continue_search
from foldrace.search.session import Session
from foldrace.search.study_store import public_toml, study_exists
from foldrace.search.workers.command import storage_in_environment
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workspace import Workspace
from foldrace.studies.study import Study


@dataclass(frozen=True)
class Submission:
    """A job array that Slurm has taken. As text, it is one line."""

    job: int
    tasks: int
    partition: str

    def __str__(self) -> str:
        return f"submitted {self.job}_[0-{self.tasks - 1}] on {self.partition}"


def worker_script(study: Study, root: Path, *, final: bool, file: Path | None = None) -> str:
    """The batch script of a study's workers, or with `final` of those of its final job, the last of which hands in.

    Args:
        file: the study file that they read; by default the one that `submit` writes.

    Raises:
        StudyError: their time is too short.
    """
    refuse_short_time(study)
    workspace = Workspace(root, study.name)
    kind = ["--final", "--hand-in"] if final else []
    worker = [sys.executable, "-P", "-m", "foldrace", "worker", str(file or _study_file(workspace, final)), "--requeue"]
    worker += ["--workspace", str(workspace.root), "--wait", "600", *kind]
    return job_script(study, worker, workspace.folder / "logs")


def printed_script(study: Study, root: Path, *, final: bool) -> tuple[str, Path]:
    """`worker_script` for the user to submit, and the study file that it names; that and the folder of logs are made.

    Raises as `worker_script` does; StorageError: the file cannot be written.
    """
    workspace, text = Workspace(root, study.name), public_toml(study)
    workspace.refuse_links()
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]  # so that no later script changes what this one reads
    file = workspace.folder / FOLDER / f"study-{digest}.toml"
    script = worker_script(study, root, final=final, file=file)
    atomic_write(file, text)
    (workspace.folder / "logs").mkdir(exist_ok=True)
    return script, file


def submit(session: Session, script: str, *, final: bool) -> Submission:
    """Submit the workers of a session's study; they read the study from the run's folder.

    Raises:
        StorageError: a file is in the way, or there is another study of this name.
        SlurmError: Slurm refuses.
    """
    study, workspace = session.study, session.workspace
    workspace.refuse_links()
    if not final:
        continue_search(session)
    else:
        joined = find_final_job(study, session.database, workspace)
        if study_exists(session.database, joined.name):
            begin_final(session)
        write_first_study(joined.folder, joined.study)
    (workspace.folder / "logs").mkdir(parents=True, exist_ok=True)
    atomic_write(_study_file(workspace, final), public_toml(study))
    with storage_in_environment(session):
        job = submit_script(script)
    atomic_write(workspace.folder / FOLDER / f"{job}.sh", script)
    return Submission(job, study.slurm.tasks, partition_of(job))


def _study_file(workspace: Workspace, final: bool) -> Path:
    return workspace.folder / FOLDER / "final.toml" if final else workspace.study_file
