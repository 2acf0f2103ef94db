"""Fixtures of the tests that train."""

from collections.abc import Callable

import pytest
import torch

from foldrace.trainer.training.tasks import FoldTask
from tests.support.folds import small_task


@pytest.fixture
def make_task() -> Callable[..., FoldTask]:
    """`small_task`. Folds run on one thread: the tests share the machine."""
    torch.set_num_threads(1)
    return small_task
