"""Against transformers.Trainer: same weights, same batches, no dropout, fp32 give the same losses, step by step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from foldrace.trainer.data.batching import assemble, epoch_batches
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.schedule import make_schedule
from foldrace.trainer.training.tasks import FoldTask

pytest.importorskip("accelerate", reason="transformers.Trainer needs it")

STEPS = 60


class Recorder(Trainer):
    """A Trainer on given batches and learning rates that keeps the loss of each step."""

    def __init__(self, task: FoldTask, arguments: TrainingArguments) -> None:
        super().__init__(build_model(task.source, task.knobs, task.seed), arguments, train_dataset=[{}] * 44)
        self.task = task
        self.losses: list[float] = []

    def get_train_dataloader(self) -> DataLoader[Any]:
        lengths = self.task.tokens.lengths[self.task.training]
        epochs = range(self.task.knobs.epochs)
        order = [batch for epoch in epochs for batch in epoch_batches(lengths, 8, self.task.seed, epoch)]
        cpu = torch.device("cpu")
        batches = [assemble(self.task.tokens, self.task.training[b], self.task.pad_id, cpu) for b in order]
        for batch, positions in zip(batches, order, strict=True):
            batch["labels"] = torch.from_numpy(self.task.labels[self.task.training[positions]])
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]  # a list will do

    def create_scheduler(self, *_: Any, **__: Any) -> Any:
        schedule, lr = make_schedule(STEPS, self.task.knobs), self.task.knobs.lr
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: schedule.lr(min(step, STEPS - 1)) / lr
        )
        return self.lr_scheduler

    def training_step(self, *arguments: Any, **keywords: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **keywords)
        self.losses.append(loss.item())
        return loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_are_those_of_transformers_trainer(
    make_task: Callable[..., FoldTask], tmp_path: Path, smoothing: float
) -> None:
    task = make_task(epochs=10, dropout=0.0, evaluations=STEPS, label_smoothing=smoothing, first_cycle_ratio=0.3)
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=STEPS,
        learning_rate=task.knobs.lr,
        weight_decay=task.knobs.weight_decay,
        max_grad_norm=task.knobs.max_grad_norm,
        label_smoothing_factor=smoothing,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    reference = Recorder(task, arguments)
    reference.train()

    losses = [event.train_loss for event in train_fold(task) if isinstance(event, EvaluationRecord)]

    assert len(losses) == len(reference.losses) == STEPS
    np.testing.assert_allclose(losses, reference.losses, atol=1e-5, rtol=0)
    assert losses[-1] < losses[0] - 0.3
