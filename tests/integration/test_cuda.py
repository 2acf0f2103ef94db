"""A fold on a CUDA device: that it runs there at all. Deselected without one: `pytest -m cuda` selects it."""

from typing import Any

import pytest
import torch

from tests.support import cuda

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("knobs", cuda.FOLDS, ids=str)
def test_a_fold_trains_and_resumes_on_cuda(knobs: dict[str, Any]) -> None:
    cuda.check_a_fold_trains_and_resumes(**knobs)


@pytest.mark.parametrize("knobs", cuda.REPLAYED, ids=str)
def test_replayed_steps_are_those_that_python_launches(knobs: dict[str, Any]) -> None:
    cuda.check_replayed_steps_are_those_that_python_launches(**knobs)


def test_a_step_waits_for_nothing() -> None:
    cuda.check_a_step_waits_for_nothing()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
def test_probabilities_are_those_of_the_cpu(dtype: torch.dtype | None) -> None:
    cuda.check_probabilities_are_those_of_the_cpu(dtype)
