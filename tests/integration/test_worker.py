"""A worker's life over real training: it releases its trial when it is stopped, and the next one goes on from there."""

import gc
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
import torch
from safetensors.torch import save_file

from foldrace.search.cluster import life
from foldrace.search.ending import Outlook
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.recording import recorder
from foldrace.search.sampler.gp import Sample
from foldrace.search.session import Session, open_session
from foldrace.search.study_store import open_study
from foldrace.search.trials import fold_files
from foldrace.search.trials.claims import Claim, Trials
from foldrace.search.workers import fold_run
from foldrace.search.workers.command import WorkerCommand, work_on
from foldrace.search.workers.entrypoint import WorkerOptions, run_worker
from foldrace.search.workers.fold_run import FoldRun
from foldrace.search.workers.slots import slots
from foldrace.search.workers.supervisor import Snapshot, Supervisor, local_crew
from foldrace.search.workers.worker import Worker
from foldrace.storage import tables
from foldrace.storage.leases.lease import DONE, LeaseLost, mark_orphaned, read_folds
from foldrace.storage.trackers.registry import Trackers
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.loading import load
from foldrace.studies.study import Study
from foldrace.trainer.results import save_result
from foldrace.trainer.training import checkpoint, evaluator
from foldrace.trainer.training import loop as training
from foldrace.trainer.training.tasks import NonFiniteLossError, NoRoomError
from tests.support.claims import NO_HEARTBEAT, must_claim
from tests.support.stopping import after_evaluations, never, once_it_has_a_trial

CPU = WorkerOptions("cpu")

ONE_TRIAL = ("search.trials=1", "folds.count=2", "training.epochs=1", "search.baseline={}")


@pytest.fixture
def study(storage_url: str) -> Study:
    return load("demo", [*ONE_TRIAL, f"search.storage={storage_url}"])


@pytest.fixture
def session(study: Study, tmp_path: Path) -> Iterator[Session]:
    with open_session(study, tmp_path) as opened:
        yield opened


def out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has a capacity.\nMore of it.")


def test_a_worker_that_is_stopped_saves_its_trial_and_releases_it(session: Session) -> None:
    run_worker(session, CPU, once_it_has_a_trial(session))

    left = read_status(session.database, "demo")
    assert left.trials == {"RUNNING": 1}
    assert [orphan.why for orphan in left.orphans] == ["released"]
    assert list(session.workspace.folder.glob("trial-00000/fold-0/attempt-1/checkpoint-*.safetensors"))


def test_the_next_worker_ends_the_trial_with_the_value_it_would_have_had(session: Session, tmp_path: Path) -> None:
    undisturbed = session.study.model_copy(update={"name": "undisturbed"})
    with open_session(undisturbed, tmp_path / "other") as other:
        run_worker(other, CPU, never)
        expected = read_status(other.database, "undisturbed").best

    for should_stop in (once_it_has_a_trial(session), after_evaluations(session, 3), never):
        run_worker(session, CPU, should_stop)

    ended = read_status(session.database, "demo")
    assert ended.trials == {"COMPLETE": 1}
    assert expected is not None
    assert ended.best is not None
    assert ended.best.value == expected.value
    assert not list(session.workspace.folder.glob("trial-*/fold-*/attempt-*/checkpoint-*"))


def test_trials_that_nobody_can_run_cost_no_worker(tmp_path: Path) -> None:
    """One process fails them all; it is not started again for any of them."""
    study, snapshots = load("demo", ONE_TRIAL), list[Snapshot]()
    queued: list[dict[str, object]] = [{"lr": "fast"}, {"epochs": 0}, {"no_knob": 1}, {"gamma": [1]}, {"dropout": None}]
    with open_session(study, tmp_path) as session:
        open_study(session.database, study)
        must_claim(Trials(session.database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)).prune("it lies behind")
        stored = optuna.load_study(study_name=study.name, storage=session.database.storage)
        for knobs in queued:
            stored.enqueue_trial(knobs)
        with work_on(session, None) as file:
            command = WorkerCommand(file, tmp_path, None, lambda: float("inf"))
            status = Supervisor(local_crew(command, slots("cpu", 1), tmp_path / "logs")).run(snapshots.append)
        left = read_status(session.database, study.name)

    [worker] = snapshots[-1].workers
    assert (status, worker.state, worker.restarts) == (0, "done", 0)
    assert left.trials == {"PRUNED": 1, "FAIL": len(queued)}


def test_a_device_without_room_for_the_model_costs_no_trial(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "build_model", out_of_memory)

    with pytest.raises(
        NoRoomError, match=r"^cpu has no room for tiny; .* \(CUDA out of memory. Tried to allocate 2.00 MiB\)$"
    ):
        run_worker(session, CPU, never)

    left = read_status(session.database, "demo")
    assert left.trials == {"RUNNING": 1}
    assert [orphan.why for orphan in left.orphans] == ["released"]


def test_a_device_without_room_for_a_checkpoint_costs_neither_it_nor_its_trial(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_worker(session, CPU, once_it_has_a_trial(session))
    monkeypatch.setattr(torch.optim.AdamW, "load_state_dict", out_of_memory)

    with pytest.raises(NoRoomError):
        run_worker(session, CPU, never)

    assert [orphan.why for orphan in read_status(session.database, "demo").orphans] == ["released"]
    assert list(session.workspace.folder.glob("trial-00000/fold-0/attempt-1/checkpoint-*.safetensors"))


def test_out_of_memory_where_no_step_can_be_halved_counts_as_an_attempt(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "predict", out_of_memory)

    for _ in range(3):
        with pytest.raises(torch.OutOfMemoryError):
            run_worker(session, CPU, never)
    run_worker(session, CPU, never)

    [failure] = read_status(session.database, "demo").failures
    assert "CUDA out of memory" in failure.reason


@pytest.mark.parametrize("evaluations", [9, 1000])  # in the second fold, and when all is done
def test_a_new_database_learns_what_the_files_of_a_run_know(session: Session, tmp_path: Path, evaluations: int) -> None:
    run_worker(session, CPU, after_evaluations(session, evaluations))
    before = session.database.storage.get_trial(1).intermediate_values
    elsewhere = session.study.search.model_copy(update={"storage": f"sqlite:///{tmp_path / 'new.db'}"})

    with open_session(session.study.model_copy(update={"search": elsewhere}), tmp_path) as moved:
        run_worker(moved, CPU, never)
        trial = moved.database.storage.get_trial(1)

    assert before
    assert trial.state.name == "COMPLETE"
    assert list(trial.intermediate_values) == list(range(16))
    assert trial.intermediate_values | before == trial.intermediate_values
    assert {f"fold{fold}/eval{index}" for fold in range(2) for index in range(8)} <= trial.user_attrs.keys()


def test_a_checkpoint_stays_until_there_is_a_newer_one(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_worker(session, CPU, once_it_has_a_trial(session))
    folder = session.workspace.folder / "trial-00000/fold-0/attempt-1"
    before = list(folder.iterdir())
    elsewhere = session.study.search.model_copy(update={"storage": f"sqlite:///{tmp_path / 'new.db'}"})
    monkeypatch.setattr(fold_run, "train_fold", lambda *_: 1 / 0)

    with (
        open_session(session.study.model_copy(update={"search": elsewhere}), tmp_path) as moved,
        pytest.raises(ZeroDivisionError),
    ):
        run_worker(moved, CPU, never)

    assert len(before) == 1
    assert list(folder.iterdir()) == before


def test_a_search_that_has_converged_ends_what_runs_and_begins_nothing(storage_url: str, tmp_path: Path) -> None:
    early = ["search.trials=8", "search.stop_below_noise=true", "search.pruner=none"]  # as version 0.1.0 called it
    study = load("demo", [*ONE_TRIAL, *early, f"search.storage={storage_url}"])
    with open_session(study, tmp_path) as session:
        open_study(session.database, study)
        trials = Trials(session.database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
        for number in range(6):
            claim = must_claim(trials)
            claim.begin({}, Sample({}, None, Outlook(gain=0.05 / (number + 1) ** 3, error=0.01, spread=0.05, trials=9)))
            if number < 5:
                claim.finish(0.5)
        claim.release()

        run_worker(session, CPU, never)

        status = read_status(session.database, "demo")
    assert status.trials == {"COMPLETE": 6, "WAITING": 2}
    assert status.state == "done"


def test_a_worker_that_ends_by_an_error_closes_its_trackers_and_frees_the_figures(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw_and_fail(worker: Worker) -> None:
        worker.recorder.flush()
        raise ZeroDivisionError("the error that is to be seen")

    closed: list[bool] = []
    monkeypatch.setattr(recorder, "MIN_DRAWING_SECONDS", 0.0)
    monkeypatch.setattr(Trackers, "close", lambda _: closed.append(True))
    monkeypatch.setattr(Worker, "run", draw_and_fail)

    with pytest.raises(ZeroDivisionError, match="the error that is to be seen"):
        run_worker(session, CPU, never)

    assert closed
    with session.workspace.lock("figures", timeout_seconds=0):
        pass


def test_a_worker_that_lives_takes_back_the_attempt_that_others_counted(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    heirs: list[Claim] = []

    def lose_the_trial(_: FoldRun) -> bool:
        mark_orphaned(session.database, "frozen", "silent for too long", is_attempt=True)
        heirs.append(must_claim(Trials(session.database, session.study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)))
        raise LeaseLost("another worker adopted it")

    monkeypatch.setattr(FoldRun, "run", lose_the_trial)

    run_worker(session, WorkerOptions("cpu", owner="frozen"), lambda: bool(heirs))

    counted = sa.select(tables.leases.c.attempt, tables.leases.c.fruitless)
    assert session.database.read(lambda connection: connection.execute(counted).all()) == [(2, 0)]


@pytest.mark.parametrize("is_writing", [False, True])
def test_whoever_trains_a_fold_of_a_trial_that_another_one_ends_lets_go_and_leaves_nothing(
    storage_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_writing: bool,
) -> None:
    settings = [*ONE_TRIAL, "folds.count=3", "search.checkpoint_minutes=0", f"search.storage={storage_url}"]
    ended: list[bool] = []

    def diverge(*_: object) -> None:
        raise NonFiniteLossError("its loss is not finite")

    def end_the_trial() -> None:
        """Once the worker trains the second fold, another one takes the third, and fails."""
        if ended or database.read(lambda connection: read_folds(connection, 1)) != {1: {0: DONE, 1: "held"}}:
            return
        ended.append(True)
        with monkeypatch.context() as patch:
            patch.setattr(fold_run, "train_fold", diverge)
            run_worker(session, CPU, never)

    def end_and_save(*arguments: Any) -> None:
        end_the_trial()
        save_file(*arguments)

    def end_and_go_on() -> bool:
        end_the_trial()
        return False

    with open_session(load("demo", settings), tmp_path) as session, caplog.at_level(logging.WARNING):
        database = session.database
        if is_writing:
            monkeypatch.setattr(checkpoint, "save_file", end_and_save)
        run_worker(session, CPU, never if is_writing else end_and_go_on)
        assert read_status(database, "demo").trials == {"FAIL": 1}

    assert ended
    assert "trial 0 was taken over by another worker, or has ended" in caplog.messages
    assert not list(session.workspace.folder.glob("trial-*/fold-*/attempt-*"))


def test_whoever_has_lost_a_fold_that_another_one_has_trained_leaves_nothing(session: Session) -> None:
    heirs: list[bool] = []

    def is_trained() -> bool:
        return session.database.read(lambda connection: read_folds(connection, 1)) == {1: {0: DONE}}

    def train_elsewhere() -> bool:
        if not heirs and session.database.read(lambda connection: read_folds(connection, 1)) == {1: {0: "held"}}:
            heirs.append(True)
            mark_orphaned(session.database, "frozen", "silent for too long", is_attempt=True)
            run_worker(session, CPU, is_trained)
        return bool(heirs)

    run_worker(session, WorkerOptions("cpu", owner="frozen"), train_elsewhere)

    assert is_trained()
    assert not list(session.workspace.folder.glob("trial-*/fold-*/attempt-*"))


def test_checkpoints_beside_the_result_of_a_fold_are_deleted_by_whoever_goes_on(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a worker dies after it has saved the result."""
    left = session.workspace.fold(0, 0) / "attempt-1"

    def die(_: FoldRun) -> None:
        left.mkdir(exist_ok=True)
        raise ZeroDivisionError("the error that is to be seen")

    with monkeypatch.context() as patch:
        patch.setattr(FoldRun, "_drop_checkpoints", die)
        with pytest.raises(ZeroDivisionError):
            run_worker(session, CPU, never)
    assert left.exists()

    run_worker(session, CPU, never)

    assert not left.exists()


def test_garbage_is_collected_once_the_worker_is_imported() -> None:
    with life._without_garbage_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_whoever_has_lost_a_fold_as_it_ends_leaves_the_checkpoints_of_its_heir(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, heirs = session.workspace.fold(0, 0) / "attempt-2", list[Claim]()

    def lose_and_save(*arguments: Any) -> None:
        mark_orphaned(session.database, "frozen", "silent for too long", is_attempt=True)
        heirs.append(must_claim(Trials(session.database, session.study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)))
        theirs.mkdir(parents=True)
        save_result(*arguments)

    monkeypatch.setattr(fold_files, "save_result", lose_and_save)

    run_worker(session, WorkerOptions("cpu", owner="frozen"), lambda: bool(heirs))

    assert theirs.exists()
