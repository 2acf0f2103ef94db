"""A fold that is interrupted anywhere and goes on from its checkpoint gives what it would have given, bit by bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.training.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from foldrace.trainer.training.loop import start_fold, train_fold
from foldrace.trainer.training.prediction import predict
from foldrace.trainer.training.tasks import FoldResult, FoldTask, Progress
from tests.support.folds import EVERY_METHOD, Tamper, memory_for
from tests.support.relations import relation_task

MakeTask = Callable[..., FoldTask]


def train_with_checkpoints(task: FoldTask, folder: Path) -> tuple[list[Checkpoint], FoldResult]:
    """A fold, with a checkpoint at each of its steps, each read back from its file."""
    checkpoints = []
    for event in train_fold(task, progress_seconds=0):
        if isinstance(event, Progress):
            torch.manual_seed(event.step)  # the consumer's doing must not show
            checkpoints.append(load_checkpoint(event.snapshot().save(folder), task.hash()))
    assert isinstance(event, FoldResult)
    return checkpoints, event


def resume(task: FoldTask, checkpoint: Checkpoint) -> FoldResult:
    torch.manual_seed(4321)
    *_, result = train_fold(task, checkpoint)
    assert isinstance(result, FoldResult)
    return result


def assert_same(result: FoldResult, expected: FoldResult) -> None:
    assert result.curve == expected.curve
    assert np.array_equal(result.probabilities, expected.probabilities)
    assert result.weights.keys() == expected.weights.keys()
    assert all(torch.equal(result.weights[name], tensor) for name, tensor in expected.weights.items())


def test_a_fold_resumes_from_each_of_its_steps(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(dropout=0.2, first_cycle_ratio=0.3)
    checkpoints, expected = train_with_checkpoints(task, tmp_path)
    assert [checkpoint.step for checkpoint in checkpoints] == list(range(1, 13))

    for checkpoint in checkpoints:
        assert_same(resume(task, checkpoint), expected)


@pytest.mark.parametrize("step", [2, 4, 7], ids=["not_yet_evaluated", "just_evaluated", "mid_epoch"])
@pytest.mark.parametrize("knobs", [{"optimizer": "adamw"}, {"optimizer": "sgd", "lr": 0.1}], ids=["adamw", "sgd"])
def test_a_restored_state_gives_the_same_snapshot(
    make_task: MakeTask, tmp_path: Path, knobs: dict[str, Any], step: int
) -> None:
    task = make_task(dropout=0.2, **knobs)
    first = train_with_checkpoints(task, tmp_path)[0][step - 1]
    path = first.save(tmp_path / "again")

    second = start_fold(task, load_checkpoint(path, task.hash())).state.snapshot(task.hash())

    assert (second.task, second.step, second.state) == (first.task, first.step, first.state)
    assert second.tensors.keys() == first.tensors.keys()
    assert all(torch.equal(second.tensors[name], tensor) for name, tensor in first.tensors.items())


def test_a_checkpoint_has_the_names_that_version_0_1_0_wrote(make_task: MakeTask, tmp_path: Path) -> None:
    checkpoint = train_with_checkpoints(make_task(), tmp_path)[0][6]

    parts = {name.partition(".")[0] for name in checkpoint.tensors}
    assert parts == {"model", "best", "optimizer", "random", "loss", "best_probabilities"}
    assert {name.split(".")[2] for name in checkpoint.tensors if name.startswith("optimizer.")} == {
        *("step", "exp_avg", "exp_avg_sq")
    }
    counts = {"micro_batch", "loss_rows", "seconds_training", "seconds_evaluating"}
    assert checkpoint.state.keys() == counts | {"device", "curve"}


def test_a_state_that_a_stored_checkpoint_does_not_have_keeps_its_initial_value(
    make_task: MakeTask, tmp_path: Path
) -> None:
    task = make_task()
    checkpoint = train_with_checkpoints(task, tmp_path)[0][6]
    del checkpoint.state["seconds_evaluating"], checkpoint.tensors["best_probabilities"]

    state = start_fold(task, checkpoint).state

    assert (state.step, state.seconds_evaluating, len(state.best_probabilities)) == (7, 0.0, 0)


@pytest.mark.parametrize(
    "knobs",
    [
        {"precision": "bf16"},
        {"gradient_checkpointing": True},
        {"optimizer": "sgd", "lr": 0.1},
        {"loss": "focal"},
        {"freeze": 1, "reinit_layers": 1},
        EVERY_METHOD,
    ],
)
def test_every_way_of_training_resumes(make_task: MakeTask, tmp_path: Path, knobs: dict[str, Any]) -> None:
    task = make_task(**knobs)
    checkpoints, expected = train_with_checkpoints(task, tmp_path)

    assert_same(resume(task, checkpoints[6]), expected)


def test_every_method_resumes_after_the_device_ran_out_of_memory(
    make_task: MakeTask, tamper: Tamper, tmp_path: Path
) -> None:
    tamper(memory_for(22))  # R-Drop takes each of 22 rows twice
    task = make_task(**EVERY_METHOD, batch_size=22)
    checkpoints, expected = train_with_checkpoints(task, tmp_path)
    assert expected.cost.micro_batch == 11

    assert_same(resume(task, checkpoints[1]), expected)


def test_a_training_part_that_changes_each_epoch_resumes(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    changes = {"swap_entities": 0.4, "replace_entities": 0.4, "token_deletion": 0.1, "token_masking": 0.1}
    checkpoints, expected = train_with_checkpoints(relation_task(tmp_path, **changes), tmp_path)

    for step in (1, 4):  # within the first epoch, and within the second one
        assert_same(resume(relation_task(tmp_path, **changes), checkpoints[step]), expected)


def test_a_fold_is_judged_on_its_rows_as_they_are(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    exact = {"precision": "fp32"}  # `auto` is bf16 on some machines
    plain = relation_task(tmp_path, **exact)
    task = relation_task(tmp_path, **exact, swap_entities=0.9, token_masking=0.9)
    *_, result = train_fold(task)
    assert isinstance(result, FoldResult)
    model = build_model(task.source, task.knobs, task.seed)
    model.load_state_dict(result.weights)

    judged = predict(model, plain.tokens, plain.validation, plain.pad_id, None)

    assert np.allclose(result.probabilities, judged, atol=1e-5)


def test_a_fold_goes_on_from_another_kind_of_device(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(dropout=0.0)
    checkpoints, expected = train_with_checkpoints(task, tmp_path)
    checkpoints[6].tensors["random"] = torch.zeros(16, dtype=torch.uint8)  # of the size that a CUDA device has

    assert_same(resume(task, checkpoints[6]), expected)


def test_a_fold_resumes_twice(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task()
    checkpoints, expected = train_with_checkpoints(task, tmp_path)
    events = train_fold(task, checkpoints[2], progress_seconds=0)
    later = next(event for event in events if isinstance(event, Progress) and event.step == 9).snapshot()
    events.close()

    assert_same(resume(task, later), expected)


def test_a_resumed_fold_counts_the_seconds_of_all_its_attempts(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task()
    checkpoints, _ = train_with_checkpoints(task, tmp_path)
    checkpoints[-1].state.update(seconds_training=1000.0, seconds_evaluating=500.0)

    result = resume(task, checkpoints[-1])

    assert 1000 <= result.cost.seconds_training < 1100
    assert 500 <= result.cost.seconds_evaluating < 600


def test_a_checkpoint_of_another_trial_is_refused(make_task: MakeTask, tmp_path: Path) -> None:
    checkpoints, _ = train_with_checkpoints(make_task(), tmp_path)

    with pytest.raises(CheckpointError, match="belongs to another study, fold or trial"):
        next(train_fold(make_task(dropout=0.3), checkpoints[0]))
