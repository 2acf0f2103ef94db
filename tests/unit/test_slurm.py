"""What is asked of Slurm: the batch script of a study, the section [slurm], and when a worker asks for another life.

Real Slurm is in tests/slurm; here its commands are small programs that answer and note what they were asked.
"""

import resource
import signal
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from foldrace.errors import FoldraceError
from foldrace.search.api.cluster import submit, worker
from foldrace.search.api.control import stop
from foldrace.search.cluster import slurm
from foldrace.search.cluster.database import refuse_shared_file
from foldrace.search.cluster.jobs import worker_script
from foldrace.search.cluster.requeue import Life, requeued
from foldrace.search.cluster.script import job_script
from foldrace.search.ensemble.job import queue_final_job
from foldrace.search.session import open_session
from foldrace.storage.address import sqlite_url
from foldrace.storage.database import Database
from foldrace.storage.errors import DiskError, OutageError, StorageError
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.optuna_rows import find_study_id
from foldrace.storage.workers import (
    Activity,
    WorkerIdentity,
    has_trained,
    job_of,
    new_owner,
    read_control,
    report_alive,
)
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import load
from foldrace.studies.study import StudyError

FULL = [
    "slurm.partition=gpu",
    "slurm.account=lab",
    "slurm.gpus=2",
    "slurm.cpus=4",
    "slurm.memory=32G",
    "slurm.time=26h30m",
    "slurm.tasks=16",
    'slurm.setup=["module load cuda", "source venv/bin/activate"]',
    'slurm.extra=["--constraint=a100"]',
]


def directives(*overrides: str, logs: str = "/runs/demo/logs") -> list[str]:
    script = job_script(load("demo", overrides), ["foldrace", "worker", "a b.toml"], Path(logs))
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


def test_a_script_asks_for_what_the_section_says_and_the_worker_takes_the_place_of_the_shell() -> None:
    script = job_script(load("demo", FULL), ["foldrace", "worker", "a b.toml"], Path("/runs/demo/logs"))

    assert script.splitlines() == [
        "#!/bin/bash",
        "#SBATCH --job-name=foldrace-demo",
        "#SBATCH --array=0-15",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=lab",
        "#SBATCH --gres=gpu:2",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=32G",
        "#SBATCH --time=26:30:00",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --signal=B:TERM@120",
        "#SBATCH --output=/runs/demo/logs/slurm-%A_%a.log",
        "#SBATCH --constraint=a100",
        "",
        "module load cuda",
        "source venv/bin/activate",
        "exec foldrace worker 'a b.toml'",
    ]


def test_a_study_without_the_section_asks_for_one_gpu_each_and_no_time() -> None:
    assert directives()[1:4] == ["--array=0-7", "--gres=gpu:1", "--requeue"]
    assert not [line for line in directives("slurm.gpus=0") if "gpu" in line]


def test_a_warning_comes_two_minutes_or_a_quarter_of_the_time_before_its_end() -> None:
    assert "--signal=B:TERM@60" in directives("slurm.time=4m")
    assert "--signal=B:TERM@120" in directives("slurm.time=8m")
    assert "--time=00:02:00" in directives("slurm.time=90s")  # Slurm counts whole minutes


def test_a_folder_with_a_space_and_a_percent_sign_is_the_folder_of_the_logs() -> None:
    assert '--output="/my runs/50%%/slurm-%A_%a.log"' in directives(logs="/my runs/50%")


@pytest.mark.parametrize("folder", ["/a\n#SBATCH --uid=0", '/a" --uid=0', "/a\\", "/a\x00"])
def test_a_folder_that_would_be_another_directive_is_refused(folder: str) -> None:
    with pytest.raises(StudyError, match="sbatch takes no path with a line end, a double quote or a backslash"):
        directives(logs=folder)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("slurm.tasks=0", "slurm.tasks"),
        ("slurm.time=soon", "expected a duration of a minute or more, such as 11h or 90m; found 'soon'"),
        ("slurm.time=30s", "expected a duration of a minute or more"),
        ('slurm.extra=["exclusive"]', "expected options of sbatch, such as --constraint=a100; found 'exclusive'"),
        ('slurm.setup=["a\\nb"]', "slurm.setup.0: expected one line; found 'a\\nb'"),
        ('slurm.setup=["a\\u0000b"]', "slurm.setup.0: expected one line"),
        (
            "slurm.partition=two words",
            "slurm.partition: expected letters, digits and . , @ + : / - _; found 'two words'",
        ),
        ("slurm.memory=lots", "slurm.memory: expected a size such as 32G; found 'lots'"),
        ("slurm.memory=\u0661G", "slurm.memory"),
        ("slurm.nodes=2", "slurm.nodes: unknown key; known: partition, gpus"),
    ],
)
def test_what_slurm_cannot_be_asked_is_one_line(override: str, told: str) -> None:
    with pytest.raises(StudyError) as refused:
        load("demo", [override])
    assert told in str(refused.value)


def test_a_time_that_is_over_before_the_first_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="shorter than the 5 minutes between two checkpoints"):
        worker_script(load("demo", ["slurm.time=4m"]), tmp_path, final=False)
    assert "--hand-in" in worker_script(load("demo", ["slurm.time=5m"]), tmp_path, final=True)


def test_an_sqlite_file_on_a_network_file_system_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("root / ext4 rw 0 0\nserver:/x /shared lustre rw 0 0\n")
    for storage in (None, sqlite_url(Path("/shared/study.db"))):
        study = load("demo", [f"search.storage={storage}"] if storage else [])
        with pytest.raises(StorageError, match=r'\(lustre\) .*write search.storage = "workspace"'):
            refuse_shared_file(study, Workspace("/shared/runs", "demo"), mounts)
    refuse_shared_file(load("demo"), Workspace(tmp_path, "demo"), mounts)


def test_a_worker_is_named_after_its_task_and_node(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "SLURMD_NODENAME"):
        monkeypatch.delenv(name, raising=False)
    assert job_of(new_owner()) == ""
    for name, value in {"ARRAY_JOB_ID": "48213", "ARRAY_TASK_ID": "3", "JOB_ID": "48216"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    assert (job_of(new_owner()), WorkerIdentity().host) == ("48213_3", "n1")


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Has squeue answer a line, and scontrol note what it is asked; returns the file of these notes."""
    asked = tmp_path / "asked"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, value in {"ARRAY_JOB_ID": "48213", "ARRAY_TASK_ID": "7", "JOB_ID": "48213"}.items():  # the last task
        monkeypatch.setenv(f"SLURM_{name}", value)

    def make(line: str) -> Path:
        for name, script in {"squeue": f"echo '{line}'", "scontrol": f"echo $* >> {asked}"}.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        return asked

    return make


def test_a_worker_asks_for_another_life_when_its_time_is_over(answer: Callable[[str], Path], tmp_path: Path) -> None:
    asked, workspace = answer("RUNNING"), Workspace(tmp_path, "demo")
    for life in (Life(), Life(work_left=False), Life()):
        with requeued(workspace, life):
            life.signals.number = signal.SIGTERM
    with requeued(workspace, Life()):  # nothing was left to do
        pass
    with pytest.raises(StudyError), requeued(workspace, Life()):
        raise StudyError("what the user has to mend")
    assert asked.read_text() == "requeue 48213_7\n" * 2


def test_a_worker_whose_own_time_is_over_tells_that_work_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert worker(load("demo"), device="cpu", seconds=0.0, workspace=tmp_path, requeue=True) == signal.SIGTERM
    assert (tmp_path / "demo/study.toml").is_file()  # nobody else writes it


def test_a_task_that_slurm_ends_is_left_alone(answer: Callable[[str], Path], tmp_path: Path) -> None:
    asked, life = answer("COMPLETING"), Life()
    with requeued(Workspace(tmp_path, "demo"), life):
        life.signals.number = signal.SIGTERM
    assert not asked.exists()


def test_an_outage_is_waited_for_in_five_lives_and_any_progress_counts_anew(
    answer: Callable[[str], Path], tmp_path: Path
) -> None:
    asked = answer("RUNNING")

    def live(has_trained: bool = False) -> int:
        with pytest.raises(OutageError), requeued(Workspace(tmp_path, "demo"), Life(has_trained)):
            raise OutageError("the database does not answer")
        return len(asked.read_text().splitlines())

    assert [live() for _ in range(4)] == [1, 2, 3, 4]
    assert live(has_trained=True) == 5
    assert [live() for _ in range(6)] == [6, 7, 8, 9, 9, 9]


def test_a_disk_without_room_is_waited_for_in_five_lives_whatever_was_trained(
    answer: Callable[[str], Path], tmp_path: Path
) -> None:
    asked = answer("RUNNING")
    for _ in range(6):
        with pytest.raises(DiskError), requeued(Workspace(tmp_path, "demo"), Life(has_trained=True)):
            raise DiskError("no room")
    assert len(asked.read_text().splitlines()) == 4


def test_lives_before_the_last_note_do_not_count_on_a_disk_without_room(
    answer: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm is asked while fewer than five lives brought nothing on; here the note of it cannot be written either."""
    answer("RUNNING")
    monkeypatch.setattr(slurm, "PAUSES", ())

    def live(restarts: int, has_trained: bool = False) -> None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
        with requeued(Workspace(tmp_path, "demo"), life := Life(has_trained)):
            life.signals.number = signal.SIGTERM

    live(9, has_trained=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        for restarts in (10, 13):
            with pytest.raises(slurm.NotRequeuedError):
                live(restarts)
        live(14)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("fails", "is_lost"), [(2, False), (9, True)])
def test_a_controller_that_fails_is_asked_again_and_a_task_that_is_lost_ends_with_143(
    answer: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int, is_lost: bool
) -> None:
    asked, tries, life = answer("RUNNING"), tmp_path / "tries", Life()
    monkeypatch.setattr(slurm, "PAUSES", (0.0, 0.0, 0.0))
    script = f"#!/bin/sh\necho >> {tries}\n[ $(wc -l < {tries}) -gt {fails} ] && echo $* >> {asked}\n"
    (tmp_path / "scontrol").write_text(script)
    with (
        pytest.raises(slurm.NotRequeuedError) if is_lost else nullcontext(),
        requeued(Workspace(tmp_path, "demo"), life),
    ):
        life.signals.number = signal.SIGTERM
    assert asked.exists() != is_lost
    assert slurm.NotRequeuedError.status == 143


def test_a_fold_that_is_only_claimed_is_no_progress(tmp_path: Path) -> None:
    database, worker = Database.open(f"sqlite:///{tmp_path}/study.db"), WorkerIdentity()
    told = []
    for activity in (Activity(), Activity(0, epoch=0.0), Activity(0, epoch=0.1)):
        database.transact(partial(report_alive, worker=worker, study_id=1, number=None, activity=activity))
        told.append(database.read(lambda c: has_trained(c, worker.owner)))
    database.close()
    assert told == [False, False, True]


def test_a_stop_reaches_a_final_job_alone_and_lets_go_only_the_jobs_that_wait(
    answer: Callable[[str], Path], tmp_path: Path
) -> None:
    asked, study = answer("48213_[3-7]|gpu|Resources"), load("demo")
    (tmp_path / "scancel").write_text(f"#!/bin/sh\necho $* >> {asked}\nexit 1\n")
    (tmp_path / "scancel").chmod(0o755)
    with open_session(study.with_fixed(study.search.baseline[0]), tmp_path) as session:
        job = queue_final_job(session.study, session.database, session.workspace)
        for number in (48212, 48213):
            atomic_write(session.workspace.folder / f"slurm/{number}.sh", "")
        with pytest.raises(slurm.SlurmError):  # the workers are told first
            stop(session.study, workspace=tmp_path)
        assert session.database.read(lambda c: read_control(c, find_study_id(c, job.name))) == "stopping"
    assert asked.read_text() == "--state=PENDING 48213\n"


def test_a_final_job_that_is_submitted_with_more_seeds_gets_their_folds(
    answer: Callable[[str], Path], tmp_path: Path
) -> None:
    answer("gpu")
    (tmp_path / "sbatch").write_text("#!/bin/sh\ncat > /dev/null\necho 48213\n")
    (tmp_path / "sbatch").chmod(0o755)
    study = load("demo", ["final.folds=2"])
    study = study.with_fixed(study.search.baseline[0])
    with open_session(study, tmp_path) as session:
        job = queue_final_job(study, session.database, session.workspace)
        more = study.model_copy(update={"final": study.final.model_copy(update={"seeds": (77, 78)})})

        submitted = submit(more, final=True, workspace=tmp_path)

        assert (submitted.job, submitted.partition) == (48213, "gpu")
        assert (
            len(session.database.storage.get_all_trials(session.database.read(lambda c: find_study_id(c, job.name))))
            == 4
        )


def test_tasks_that_wait_are_told_in_words(answer: Callable[[str], Path]) -> None:
    answer("48213_[3-7]|gpu|Resources")
    assert [str(task) for task in slurm.queued_tasks([48213])] == ["48213_[3-7] waits on gpu (Resources)"]
    assert slurm.queued_tasks([]) == []


def test_a_workspace_that_a_node_does_not_see_ends_its_worker_for_good(
    answer: Callable[[str], Path], tmp_path: Path
) -> None:
    asked, unseen = answer("RUNNING"), tmp_path / "unseen"
    with pytest.raises(StorageError, match="unseen: no database of its own there yet") as refused:
        worker(load("demo", ["search.storage=workspace"]), device="cpu", workspace=unseen, requeue=True)
    assert refused.value.status == 2
    assert not asked.exists()
    assert not unseen.exists()


def test_a_partition_that_does_not_exist_is_told_in_slurms_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    refusal = "Batch job submission failed: Invalid partition name specified"
    (tmp_path / "sbatch").write_text(f"#!/bin/sh\ncat > /dev/null\necho 'sbatch: error: {refusal}' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    with pytest.raises(slurm.SlurmError) as refused:
        slurm.submit_script("#!/bin/bash\n")
    assert str(refused.value) == f"sbatch: {refusal}"


def test_without_slurm_nothing_waits_and_nothing_can_be_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.queued_tasks([48213]) == []
    with pytest.raises(FoldraceError, match="no sbatch on this machine"):
        slurm.refuse_absent()
