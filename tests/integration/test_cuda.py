"""A fold on a CUDA device: that it runs there at all. Deselected without one: `pytest -m cuda` selects it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from foldrace.trainer.training.loop import _Fold, train_fold
from foldrace.trainer.training.tasks import FoldResult, FoldTask, Progress

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("knobs", [{"precision": "auto"}, {"precision": "fp32"}, {"gradient_checkpointing": True}])
def test_a_fold_trains_and_resumes_on_cuda(make_task: Callable[..., FoldTask], knobs: dict[str, Any]) -> None:
    task = make_task(device="cuda", epochs=6, **knobs)
    checkpoint = None
    for event in train_fold(task, progress_seconds=0):
        if isinstance(event, Progress) and event.step == 20:
            checkpoint = event.snapshot()
    *_, resumed = train_fold(task, checkpoint)

    assert isinstance(event, FoldResult)
    assert isinstance(resumed, FoldResult)
    assert event.best.scores.accuracy > 0.8
    assert event.peak_memory > 0
    assert resumed.last.eval_loss == pytest.approx(event.last.eval_loss, rel=0.05)


def test_a_step_waits_for_nothing(make_task: Callable[..., FoldTask]) -> None:
    fold = _Fold(make_task(device="cuda", epochs=8))
    fold.train_step()  # the first one sets up the optimiser
    torch.cuda.set_sync_debug_mode("error")
    try:
        fold.train_step()
        with pytest.raises(RuntimeError, match="synchronizing"):  # the mode is on: to show something is to wait
            fold.progress()
    finally:
        torch.cuda.set_sync_debug_mode("default")
