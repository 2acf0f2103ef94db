"""Hashes that version 0.1.0 stored are found again, also once a knob or a field has been added."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from foldrace.storage.workspace import Workspace
from foldrace.studies.knobs import Hyperparameters
from foldrace.studies.sections import Model
from foldrace.studies.study import Study
from foldrace.trainer.data.batching import Tokens
from foldrace.trainer.data.folds import FoldPlan
from foldrace.trainer.hashing import is_same_task
from foldrace.trainer.modeling.classifier import ModelSource
from foldrace.trainer.training.tasks import FoldTask
from foldrace.trainer.training_data import open_training_data

KNOBS = {"lr": 1e-3, "entity_marking": "none"}
SOURCE = ("tiny", 8, 2, 32)
TASK = FoldTask(
    tokens=Tokens(np.array([2, 5, 3, 2, 6, 7, 3, 2, 3]), None, np.array([0, 3, 7, 9])),
    labels=np.array([0, 1, 0]),
    training=np.array([0, 1]),
    validation=np.array([2]),
    no_relation=0,
    source=ModelSource(*SOURCE),
    knobs=Hyperparameters.model_validate(KNOBS),
    metric="accuracy",
    seed=77000,
    pad_id=0,
)
PLAN = (2, 77, True, False, ("a",), np.array([0, 1, 2]), np.array([0, 1, -1]), np.array([1, 1, 2]))

# As version 0.1.0 computed them.
TASK_HASH = "bbb5491118c4c0f6928e151f60d9f112a915d049125836c8c2d1d03f2003fc43"
PLAN_HASH = "51dabce113e6ec0f2b69d3a1aedb4fcf3d5820ffa83a57bf0c0803c98d42a26d"
DATA_FOLDER = "data-822a0065"


class LaterKnobs(Hyperparameters):
    later_decay: float = 0.0


@dataclass(frozen=True)
class LaterSource(ModelSource):
    pooling: str = "first"


@dataclass(frozen=True, eq=False)
class LaterPlan(FoldPlan):
    grouped_by: str = "sentence"


def test_a_task_has_the_hash_that_the_version_before_stored() -> None:
    assert is_same_task(TASK_HASH, TASK.hash())


ROWS = Tokens(np.array([2, 5, 3, 2, 6, 3]), np.array([0, 0, 0, 0, 0, 0]), np.array([0, 3, 6]))


@pytest.mark.parametrize(
    "other",
    [
        replace(TASK, training=np.array([0]), validation=np.array([1, 2])),  # the rows of a plan with other folds
        replace(TASK, tokens=replace(TASK.tokens, types=np.array([0, 0, 0, 0, 1, 1, 1, 0, 0]))),
        replace(TASK, pad_id=1),
        replace(TASK, test=ROWS),
        replace(TASK, test=replace(ROWS, offsets=np.array([0, 2, 6]))),
        replace(TASK, test=replace(ROWS, types=np.array([0, 0, 0, 0, 1, 1]))),
    ],
)
def test_tasks_of_other_rows_have_other_hashes(other: FoldTask) -> None:
    assert other.hash() not in (TASK.hash(), replace(TASK, test=replace(ROWS, types=None)).hash())
    assert not is_same_task(TASK.hash(), other.hash())
    assert not is_same_task(other.hash(), TASK.hash())


def test_a_plan_has_the_hash_that_the_version_before_stored() -> None:
    assert FoldPlan(*PLAN).hash() == PLAN_HASH


def test_a_run_finds_the_data_folder_that_the_version_before_made(tmp_path: Path) -> None:
    sentence, file = "가람은 나래사의 대표다.", tmp_path / "train.tsv"
    file.write_text(
        f"a-1\t{sentence}\t가람\t0\t1\t나래사\t4\t6\t직함\na-2\t{sentence}\t나래사\t4\t6\t가람\t0\t1\t없음\n",
        encoding="utf-8",
    )
    study = Study.model_validate({"name": "small", "data": {"train": file}, "model": {"name": "tiny"}})

    assert open_training_data(study, Workspace(tmp_path, "small")).folder.name == DATA_FOLDER
    larger = study.model_copy(update={"model": Model(vocabulary=7000)})
    assert open_training_data(larger, Workspace(tmp_path, "small")).folder.name != DATA_FOLDER


def test_a_knob_that_is_added_counts_in_a_hash_only_with_another_value_than_its_default() -> None:
    assert replace(TASK, knobs=LaterKnobs.model_validate(KNOBS)).hash() == TASK.hash()
    assert replace(TASK, knobs=LaterKnobs.model_validate(KNOBS | {"later_decay": 0.99})).hash() != TASK.hash()


def test_a_field_of_the_model_that_is_added_counts_in_a_hash_only_with_another_value_than_its_default() -> None:
    assert replace(TASK, source=LaterSource(*SOURCE)).hash() == TASK.hash()
    assert replace(TASK, source=LaterSource(*SOURCE, pooling="mean")).hash() != TASK.hash()


def test_a_plan_that_was_stored_without_a_field_is_read_with_its_default() -> None:
    stored = FoldPlan(*PLAN).to_json()

    assert LaterPlan.from_json(stored).hash() == PLAN_HASH
    assert LaterPlan(*PLAN, grouped_by="document").hash() != PLAN_HASH
