"""`foldrace clean`: what nobody needs goes, and nothing that anybody may still need."""

import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.context import ForkContext
from pathlib import Path

import pytest

from foldrace.search.launch.cleaning import CleanedRun, clean_run
from foldrace.search.session import Session, open_session
from foldrace.search.study_store import FinalFold, open_study, queue_folds
from foldrace.search.trials.claims import Claim, Trials, TrialsSettings
from foldrace.storage.database import Database
from foldrace.storage.workers import WorkerIdentity
from foldrace.storage.workspace import Workspace
from foldrace.studies.study import Study
from tests.support.claims import NO_HEARTBEAT, must_claim
from tests.support.records import record_at
from tests.support.shared_folders import let_others_in

FOLDS, EVALUATIONS = 2, 8

JOB = 'name = "small"\ndata = { train = "/data/train.tsv", test = "/data/test.tsv" }\n'


@pytest.fixture
def session(database: Database, make_study: Callable[..., Study], tmp_path: Path) -> Session:
    study = make_study(trials=3)
    study = study.model_copy(update={"folds": study.folds.model_copy(update={"count": FOLDS})})
    open_study(database, study)
    return Session(study, Workspace(tmp_path / "runs", study.name), database)


def leave(path: Path, size: int = 1000) -> Path:
    """A file of so many bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def leave_checkpoints(session: Session) -> dict[int, Path]:
    """A checkpoint of the first fold of each trial, by its number."""
    folder = session.workspace.fold
    return {n: leave(folder(n, 0) / "attempt-1" / "step-00000010.safetensors") for n in range(4)}


def finish_fold(claim: Claim) -> None:
    for index in range(EVALUATIONS):
        claim.report(claim.fold, 0.5, record_at(index, 0.5))


def cleaned(session: Session) -> CleanedRun:
    return clean_run(session, is_dry=False)


def test_only_checkpoints_of_trials_that_have_ended_go(session: Session, trials_of: Callable[..., Trials]) -> None:
    by_folds = TrialsSettings(by_folds=True)
    ended, aside, running = (must_claim(trials_of(session.study, by_folds)) for _ in range(3))
    ended.prune("it lies behind")
    finish_fold(aside)
    assert aside.put_aside(FOLDS)
    checkpoints = leave_checkpoints(session)

    told = cleaned(session)

    assert [n for n, path in checkpoints.items() if path.exists()] == [aside.number, running.number, 3]
    assert (told.freed, told.sizes["checkpoints"]) == (1000, 4000)  # nobody knows of the last one's trial: it stays
    assert "removed   1 kB: checkpoints of folds that have ended (1)" in str(told)
    assert "nothing   to remove" in str(cleaned(session))


def clean_as_another_user(study: Study, root: Path) -> tuple[int, str]:
    """To root, nothing is refused."""
    if os.geteuid() == 0:
        os.setuid(65534)
    with open_session(study, root, create=False) as session:
        told = cleaned(session)
    return told.freed, str(told)


def test_what_could_not_be_removed_is_not_called_so(
    make_study: Callable[..., Study], tmp_path: Path, forks: ForkContext
) -> None:
    study, root = make_study(), tmp_path / "runs"
    with open_session(study, root) as session:
        open_study(session.database, study)
        for _ in range(2):
            must_claim(Trials(session.database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)).prune(
                "it lies behind"
            )
        kept, gone = (path for number, path in leave_checkpoints(session).items() if number < 2)
    let_others_in(tmp_path)
    for path in (*root.rglob("*"), root):
        path.chmod(0o777 if path.is_dir() else 0o666)
    kept.parent.chmod(0o555)
    with forks.Pool(1) as pool:
        freed, told = pool.apply(clean_as_another_user, [study, root])
    kept.parent.chmod(0o755)

    assert (freed, kept.exists(), gone.exists()) == (1000, True, False)
    assert f"kept      {kept.parent}: cannot be removed: Permission denied" in told
    assert "removed   1 kB: checkpoints of folds that have ended (1)" in told


def test_a_dry_run_removes_nothing(session: Session, trials_of: Callable[..., Trials]) -> None:
    must_claim(trials_of(session.study)).prune("it lies behind")
    checkpoints = leave_checkpoints(session)

    told = clean_run(session, is_dry=True)

    assert "would go  1 kB" in str(told)
    assert all(path.exists() for path in checkpoints.values())


def test_checkpoints_of_a_final_fold_stay_until_it_is_trained(
    session: Session, trials_of: Callable[..., Trials]
) -> None:
    job = session.study.with_fixed({"gamma": 1.0, "epochs": 1})
    queue_folds(session.database, job, [FinalFold(fold, 77) for fold in range(2)])
    must_claim(trials_of(job, TrialsSettings(f"{job.name}/final-1"))).finish(0.5)
    folder = session.workspace.final(1).folder / "seed-77"
    left = [leave(folder / f"fold-{fold}" / "attempt-1" / "step-1.safetensors") for fold in range(2)]

    cleaned(session)

    assert [path.exists() for path in left] == [False, True]


@pytest.mark.parametrize("is_claimed", [False, True])
def test_checkpoints_of_a_final_fold_that_is_trained_again_stay(
    session: Session, trials_of: Callable[..., Trials], is_claimed: bool
) -> None:
    job = session.study.with_fixed({"gamma": 1.0, "epochs": 1})
    folds = [FinalFold(fold, 77) for fold in range(2)]
    queue_folds(session.database, job, folds)
    trials = trials_of(job, TrialsSettings(f"{job.name}/final-1"))
    for _ in folds:
        must_claim(trials).finish(0.5)
    queue_folds(session.database, job, folds, lost=folds[:1])
    if is_claimed:
        must_claim(trials)
    folder = session.workspace.final(1).folder / "seed-77"
    left = [leave(folder / f"fold-{fold}" / "attempt-1" / "step-1.safetensors") for fold in range(2)]

    cleaned(session)

    assert [path.exists() for path in left] == [True, False]


def test_models_of_all_but_the_newest_finished_final_job_go(session: Session) -> None:
    jobs = [session.workspace.final(number).folder for number in (2, 9, 10, 11)]
    models = [leave(job / "seed-77" / "fold-0" / "model" / "model.safetensors") for job in jobs]
    results = [leave(job / "seed-77" / "fold-0" / "result.safetensors") for job in jobs]
    for job in jobs[:3]:  # the last one is not finished
        leave(job / "ensemble.json")
        (job / "study.toml").write_text(JOB, encoding="utf-8")

    told = cleaned(session)

    assert [model.exists() for model in models] == [False, False, True, True]
    assert all(result.exists() for result in results)
    assert "models of final-9, which final-10 supersedes (1)" in str(told)


@pytest.mark.parametrize(
    ("newer", "folds", "are_kept"),
    [
        (JOB, 8, False),
        (JOB, 2, True),
        (JOB.replace("test.tsv", "other.tsv"), 8, True),
        (f"{JOB}final = {{ validation = false }}\n", 8, True),
        ("final = 3\n", 8, True),
        (f"data = {5000 * '['}\n", 8, True),
    ],
    ids=["alike", "fewer models", "other rows", "no rows held out", "no study file", "nested without end"],
)
def test_a_newer_job_supersedes_one_of_the_same_data_with_no_more_models(
    session: Session, newer: str, folds: int, are_kept: bool
) -> None:
    first, second = (session.workspace.final(number).folder for number in (1, 2))
    texts, counts = (JOB, newer), (8, folds)
    for job, text, count in zip((first, second), texts, counts, strict=True):
        for fold in range(count):
            leave(job / "seed-77" / f"fold-{fold}" / "model" / "model.safetensors")
        leave(job / "ensemble.json")
        (job / "study.toml").write_text(text, encoding="utf-8")

    cleaned(session)

    assert (first / "seed-77" / "fold-7" / "model").exists() == are_kept
    assert (second / "seed-77" / "fold-0" / "model").exists()


def test_models_of_a_job_that_is_trained_again_stay(session: Session) -> None:
    job = session.study.with_fixed({"gamma": 1.0, "epochs": 1})
    queue_folds(session.database, job, [FinalFold(0, 77)])
    jobs = [session.workspace.final(number).folder for number in (1, 2)]
    models = [leave(job / "seed-77" / "fold-0" / "model" / "model.safetensors") for job in jobs]
    for folder in jobs:
        leave(folder / "ensemble.json")

    cleaned(session)

    assert all(model.exists() for model in models)


def test_what_a_killed_process_was_writing_goes_and_what_is_being_written_stays(session: Session) -> None:
    old = leave(session.workspace.fold(0, 0) / ".partial-0123" / "model.safetensors")
    os.utime(old.parent, (0, 0))
    new = leave(session.workspace.folder / ".partial-4567")

    cleaned(session)

    assert (old.exists(), new.exists()) == (False, True)


def test_no_link_is_followed_out_of_the_run(session: Session, trials_of: Callable[..., Trials], tmp_path: Path) -> None:
    must_claim(trials_of(session.study)).prune("it lies behind")
    outside = leave(tmp_path / "outside" / "attempt-1" / "step-1.safetensors")
    fold = session.workspace.fold(0, 0)
    fold.mkdir(parents=True)
    (fold / "attempt-1").symlink_to(outside.parent)
    (session.workspace.folder / "trial-00001").symlink_to(tmp_path / "outside")

    told = cleaned(session)

    assert outside.exists()
    assert told.freed == 0


def test_no_link_to_a_final_job_elsewhere_is_followed(session: Session, tmp_path: Path) -> None:
    model = Path("fold-0", "model", "model.safetensors")
    linked, other = leave(tmp_path / "linked" / model), leave(tmp_path / "other" / "seed-77" / model)
    jobs = [session.workspace.final(number).folder for number in (1, 2, 3)]
    for job in (jobs[0], jobs[2], other.parents[3]):
        leave(job / "ensemble.json")
    (jobs[0] / "seed-77").symlink_to(tmp_path / "linked")
    jobs[1].symlink_to(other.parents[3])

    told = cleaned(session)

    assert linked.exists()
    assert other.exists()
    assert told.freed == 0


def test_files_that_a_worker_moves_meanwhile_are_no_error(session: Session) -> None:
    folder = session.workspace.folder
    folder.mkdir(parents=True)
    script = (
        "from pathlib import Path\n"
        "while True:\n    part = Path('.partial-1')\n    part.touch()\n    part.replace('checkpoint')\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=folder) as writer:
        try:
            assert all(cleaned(session).freed == 0 for _ in range(200))
        finally:
            writer.kill()
