"""What the sections train: a model of KoELECTRA's base size with random weights, on the demo's data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import ElectraConfig, ElectraForSequenceClassification, logging

from benchmarks.gpu.setting import Setting
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import load
from foldrace.studies.sections import TINY
from foldrace.studies.study import Study
from foldrace.trainer.data.examples import read_training
from foldrace.trainer.data.tokenizer import build_tokenizer
from foldrace.trainer.training.checkpoint import Checkpoint
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.tasks import FoldResult, FoldTask
from foldrace.trainer.training_data import TrainingData, open_training_data

# monologg/koelectra-base-v3-discriminator
BASE = {
    "vocab_size": 35000,
    "embedding_size": 768,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}
SMALL = BASE | {
    "vocab_size": 2000,
    "embedding_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
FOLDS, FOLD_SEED = 5, 77
SMALL_SHARE = 10  # of the small form's rows, one in so many


def model_folder(setting: Setting) -> Path:
    """The folder of the model, made by the first section that asks for it."""
    folder = setting.folder / "model"
    if not (folder / "config.json").exists():
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        sentences = [example.sentence for example in read_training(load("demo").data).rows]
        build_tokenizer(TINY, sentences, []).save_pretrained(folder)
        torch.manual_seed(0)
        ElectraForSequenceClassification(ElectraConfig(**setting.choose(BASE, SMALL))).save_pretrained(folder)
    return folder


def demo_study(setting: Setting, model: str | None = None) -> Study:
    """The demo's study with the model of base size, or with another."""
    return load("demo", [f"model.name={model or model_folder(setting)}"])


def open_demo(setting: Setting, model: str | None = None) -> TrainingData:
    return open_training_data(demo_study(setting, model), Workspace(setting.folder, "data"))


def demo_task(setting: Setting, data: TrainingData, **knobs: Any) -> FoldTask:
    """The first fold of five; of the small form, a tenth of it."""
    chosen = {"lr": setting.learning_rate, "warmup_ratio": 0.1, "epochs": setting.choose(12, 3)} | knobs
    task = data.task(data.study.defaults.model_copy(update=chosen), data.plan(FOLDS, FOLD_SEED), 0, setting.device)
    share = setting.choose(1, SMALL_SHARE)
    return replace(task, training=task.training[::share], validation=task.validation[::share])


def finish(task: FoldTask, resume: Checkpoint | None = None) -> FoldResult:
    *_, result = train_fold(task, resume)
    if not isinstance(result, FoldResult):
        raise RuntimeError("the fold ended without a result")
    return result
