"""What must hold on a CUDA device: each check raises AssertionError. It needs no pytest, only a device."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.modeling.devices import prepare_device
from foldrace.trainer.modeling.shortcuts import apply_shortcuts
from foldrace.trainer.training import gradients
from foldrace.trainer.training.loop import FoldTrainer, start_fold, train_fold
from foldrace.trainer.training.prediction import predict
from foldrace.trainer.training.tasks import FoldResult, FoldTask, Progress
from tests.support.folds import small_task

FOLDS: tuple[dict[str, Any], ...] = (
    {"precision": "auto"},
    {"precision": "fp32"},
    {"gradient_checkpointing": True},
    {"optimizer": "sgd", "lr": 0.05, "epochs": 20},
    {"loss": "focal", "focal_gamma": 0.5},
    {"rdrop_alpha": 0.1, "fgm_epsilon": 0.02, "dropout_samples": 2, "class_weights": "balanced", "ema_decay": 0.9},
)
REPLAYED: tuple[dict[str, Any], ...] = (
    {"precision": "auto"},
    {"precision": "fp32"},
    {"rdrop_alpha": 0.1, "dropout_samples": 2, "class_weights": "balanced", "ema_decay": 0.9, "freeze": 1},
    {"pooling": "mean", "max_grad_norm": 0.0},
    {"model": "bert"},
    {"model": "roberta", "pooling": "mean"},
    {"model": "xlm-roberta"},
)
LEARNT = 0.1  # of the first evaluation's training loss; an accuracy of 16 rows depends on the random numbers too much
TOLERANCES: dict[torch.dtype | None, float] = {None: 5e-3, torch.bfloat16: 3e-2}  # of a probability


def check_a_fold_trains_and_resumes(device: str = "cuda", **knobs: Any) -> None:
    """The fold learns, says what memory it took, and ends alike when it goes on from a checkpoint."""
    task = small_task(device=device, **{"epochs": 6} | knobs)
    checkpoint = None
    for event in train_fold(task, progress_seconds=0):
        if isinstance(event, Progress) and event.step == 20:
            checkpoint = event.snapshot()
    *_, resumed = train_fold(task, checkpoint)
    _require(isinstance(event, FoldResult) and isinstance(resumed, FoldResult), "a fold ended without a result")
    assert isinstance(event, FoldResult)
    assert isinstance(resumed, FoldResult)
    first, last = event.curve[0].train_loss, event.last.train_loss
    _require(last < LEARNT * first, f"the training loss goes from {first:.3f} to {last:.3f}, expected a tenth")
    majority = float(np.bincount(task.labels[task.validation]).max()) / len(task.validation)
    accuracy = event.best.scores.accuracy
    _require(accuracy > majority, f"accuracy {accuracy:.3f}, expected above the majority's {majority:.3f}")
    _require(event.cost.peak_memory > 0, "no peak memory was measured")
    losses = event.last.eval_loss, resumed.last.eval_loss
    _require(math.isclose(*losses, rel_tol=0.05), f"the last loss is {losses[0]:.5f}, and {losses[1]:.5f} resumed")


def check_replayed_steps_are_those_that_python_launches(model: str = "tiny", **knobs: Any) -> None:
    """With its launches replayed, a fold has the weights and the curve of one that Python launched.

    Args:
        model: "tiny", or the type of a small model with random weights.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = small_task(device="cuda", **{"epochs": 4} | knobs)
        if model != "tiny":
            task = replace(task, source=replace(task.source, name=_save_random_model(model, task, folder)))
        *_, replayed = train_fold(task)
        with launched_by_python():
            *_, launched = train_fold(task)
    assert isinstance(replayed, FoldResult)
    assert isinstance(launched, FoldResult)
    apart = max(float((replayed.weights[name] - tensor).abs().max()) for name, tensor in launched.weights.items())
    _require(apart == 0, f"weights are up to {apart:.2g} apart")
    _require(replayed.curve == launched.curve, "the curves differ")


def _save_random_model(kind: str, task: FoldTask, folder: str) -> str:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = AutoConfig.for_model(kind, vocab_size=task.source.vocabulary, max_position_embeddings=64, **sizes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


@contextmanager
def launched_by_python() -> Iterator[None]:
    """Within it, a fold has no CUDA graphs."""
    with mock.patch.object(gradients, "is_capturable", return_value=False):
        yield


def check_a_step_waits_for_nothing() -> None:
    """A step of the loop is queued on the device without one wait for it, captured or replayed."""
    fold = start_fold(small_task(device="cuda", epochs=8))
    fold.train_step()  # the first one sets up the optimiser
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(fold.task.steps_per_epoch * 3):
            fold.train_step()
        waited = _waits(fold)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    _require(waited, "reading the loss did not wait: the mode that forbids to wait is not on")


def check_probabilities_are_those_of_the_cpu(dtype: torch.dtype | None) -> None:
    """The same weights give the same probabilities on either device, but for rounding."""
    task = small_task()
    cpu, cuda = (_probabilities(task, device, dtype) for device in ("cpu", "cuda"))
    apart = float(np.abs(cpu - cuda).max())
    _require(apart <= TOLERANCES[dtype], f"probabilities are {apart:.2g} apart, expected {TOLERANCES[dtype]:g} at most")


def _probabilities(task: FoldTask, device: str, dtype: torch.dtype | None) -> np.ndarray[Any, Any]:
    if device == "cuda":
        prepare_device(torch.device(device))
    model = build_model(task.source, task.knobs, task.seed).to(device)
    apply_shortcuts(model, torch.device(device))
    rows = np.arange(len(task.labels))
    return predict(model, task.tokens, rows, task.pad_id, dtype if device == "cuda" else None)


def _waits(fold: FoldTrainer) -> bool:
    try:
        fold.progress()
    except RuntimeError as error:
        return "synchronizing" in str(error)
    return False


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
