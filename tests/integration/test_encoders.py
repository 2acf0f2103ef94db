"""Encoders and decoders in use, small and random: each is trained through a fold, saved, loaded and asked again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from foldrace.storage.workspace import Workspace
from foldrace.studies.data import Data
from foldrace.studies.demo.generator import labelled_rows
from foldrace.studies.study import Study
from foldrace.trainer.data.examples import read_training
from foldrace.trainer.data.tokenizer import load_tokenizer, pad_id
from foldrace.trainer.results import MODEL_FOLDER, save_model
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.prediction import load_model, predict
from foldrace.trainer.training.tasks import FoldResult
from foldrace.trainer.training_data import open_training_data
from tests.support.encoders import ENCODERS, make_encoder

POOLINGS = ("first", "mean", "entities")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("rows")
    (folder / "train.tsv").write_bytes(labelled_rows(1, 80)[0])
    (folder / "test.tsv").write_bytes(labelled_rows(2, 9)[1])
    return Data(train=folder / "train.tsv", test=folder / "test.tsv")


@pytest.mark.parametrize("family", ENCODERS)
def test_a_family_is_trained_and_answers_the_same_when_it_is_loaded(family: str, rows: Data, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    folder = make_encoder(family, [row.sentence for row in read_training(rows).rows], tmp_path / family)
    knobs = {"pooling": {"choices": POOLINGS}, "entity_marking": "typed_markers", "epochs": 1, "evaluations": 1}
    knobs["precision"] = "fp32"  # `auto` is bf16 on some machines
    study = Study.model_validate(
        {"name": "s", "data": rows, "model": {"name": str(folder), "max_length": 120}, "training": knobs}
    )
    data = open_training_data(study, Workspace(tmp_path, "run"))
    data.refuse_unknown()

    for pooling in POOLINGS:
        task = data.task(study.hyperparameters({"pooling": pooling}), data.plan(2, 77), 0, "cpu", predict_test=True)
        *_, result = train_fold(task)
        assert isinstance(result, FoldResult)
        assert result.test_probabilities is not None
        save_model(result, task, data, tmp_path / pooling)
        saved = tmp_path / pooling / MODEL_FOLDER
        model, padding = load_model(saved, "cpu"), pad_id(load_tokenizer(saved))
        assert task.test is not None
        alone = [predict(model, task.test, np.array([i]), padding, None) for i in range(9)]
        together = predict(model, task.test, np.arange(9), padding, None)

        np.testing.assert_allclose(together, result.test_probabilities, atol=1e-5)
        np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)  # what fills a row up changes nothing
        assert together.std(axis=0).max() > 1e-4
