"""Fixtures of the tests that train."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.training import loop as training
from foldrace.trainer.training.tasks import FoldTask
from tests.support.folds import Tamper, small_task


@pytest.fixture
def make_task() -> Callable[..., FoldTask]:
    """`small_task`. Folds run on one thread: the tests share the machine."""
    torch.set_num_threads(1)
    return small_task


@pytest.fixture
def tamper(monkeypatch: pytest.MonkeyPatch) -> Tamper:
    """Have something done to the model of each fold, before it is trained."""

    def install(change: Callable[[PreTrainedModel], None]) -> None:
        def build(*arguments: Any) -> PreTrainedModel:
            model = build_model(*arguments)
            change(model)
            return model

        monkeypatch.setattr(training, "build_model", build)

    return install
