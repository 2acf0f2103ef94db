"""What a fold is timed against: transformers.Trainer as it was used in 2021 and at its best, and a bare loop.

All train the same model from the same weights, on the same rows, with the same schedule. On the CPU, seconds are those
of the process's CPU: on one thread that is what a clock shows on an idle machine, and other work on a busy one is left
out. On a CUDA device they are a clock's, read when the device has done what it was given.
"""

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from foldrace.trainer.data.batching import assemble, epoch_batches, to_device
from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.modeling.devices import autocast_dtype, prepare_device
from foldrace.trainer.modeling.losses import loss_sum
from foldrace.trainer.modeling.optimizer import make_optimizer
from foldrace.trainer.modeling.shortcuts import apply_shortcuts
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.schedule import make_schedule
from foldrace.trainer.training.tasks import FoldResult, FoldTask

PADDED = 128  # tokens, of every row in 2021


@dataclass(frozen=True)
class Style:
    """How `tuned` computes: in bf16 or fp32, its batches assembled by so many processes (0: by its own)."""

    bf16: bool
    loaders: int = 0

    def __str__(self) -> str:
        return f"{'bf16' if self.bf16 else 'fp32'}, {self.loaders} processes that load"


@dataclass(frozen=True)
class Run:
    """One fold: its seconds, those of them in evaluation, its number of evaluations, its last accuracy."""

    seconds: float
    evaluating: float
    evaluations: int
    accuracy: float


def ours(task: FoldTask) -> Run:
    started = _clock(task.device)
    *_, result = train_fold(task)
    if not isinstance(result, FoldResult):
        raise RuntimeError("the fold ended without a result")
    seconds = _clock(task.device) - started
    return Run(seconds, math.nan, len(result.curve), result.last.scores.accuracy)


def steps_in_turns(task: FoldTask) -> list[float]:
    """Our loop's time over a bare loop's, step by step: both take the same step, one after the other."""
    task = replace(task, knobs=task.knobs.model_copy(update={"evaluations": 1}))
    ours = train_fold(task, progress_seconds=0)  # says something after each step
    bare = _bare_steps(task)
    ratios = []
    for number in range(task.total_steps - 1):  # the last step comes with an evaluation
        pair = (ours, bare) if number % 2 else (bare, ours)
        seconds = {loop: _seconds(loop, task.device) for loop in pair}
        ratios.append(seconds[ours] / seconds[bare])
    return ratios


def _seconds(loop: Iterator[Any], device: str) -> float:
    started = _clock(device)
    next(loop)
    return _clock(device) - started


def _clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def _bare_steps(task: FoldTask) -> Iterator[None]:
    """Forward, backward and optimiser step of our model on our batches, made beforehand."""
    knobs, device = task.knobs, torch.device(task.device)
    lengths, rates = task.tokens.lengths[task.training], make_schedule(task.total_steps, knobs).curve()
    order = [batch for e in range(knobs.epochs) for batch in epoch_batches(lengths, knobs.batch_size, task.seed, e)]
    batches = [assemble(task.tokens, task.training[positions], task.pad_id, device) for positions in order]
    labels = [to_device(task.labels[task.training[positions]], device) for positions in order]
    model = apply_shortcuts(build_model(task.source, knobs, task.seed).to(device), device)
    optimizer, dtype = make_optimizer(model, knobs), autocast_dtype(knobs, device)
    for batch, true, lr in zip(batches, labels, rates, strict=True):
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = model(**batch).logits
        (loss_sum(logits, true, knobs) / len(true)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), knobs.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad()
        yield


def retrospective(task: FoldTask, tokenizer: PreTrainedTokenizerBase, every: int) -> Run:
    """Every row padded to 128, fp32, an evaluation every so many steps."""
    points = {*range(every, task.total_steps, every), task.total_steps}
    return _run(task, tokenizer, points, PADDED, bf16=False, per_device_eval_batch_size=task.knobs.batch_size)


def tuned(task: FoldTask, tokenizer: PreTrainedTokenizerBase, style: Style) -> Run:
    """Batches of similar length, padded to their longest row, fused AdamW, our evaluations in larger batches."""
    points = set(make_schedule(task.total_steps, task.knobs).evaluation_points(task.knobs.evaluations))
    return _run(
        task,
        tokenizer,
        points,
        None,
        bf16=style.bf16,
        per_device_eval_batch_size=64,
        dataloader_num_workers=style.loaders,
        dataloader_persistent_workers=style.loaders > 0,
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length",
    )


class _Rows(Dataset[dict[str, Any]]):
    """The rows of a fold, as Trainer reads them."""

    def __init__(self, task: FoldTask, rows: Any, width: int | None) -> None:
        tokens, self.items = task.tokens, []
        for row in rows:
            ids = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]].tolist()
            padding = 0 if width is None else width - len(ids)
            mask = [1] * len(ids) + [0] * padding
            label = int(task.labels[row])
            self.items.append({"input_ids": ids + [task.pad_id] * padding, "attention_mask": mask, "labels": label})

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


class _EvaluateAt(TrainerCallback):
    def __init__(self, points: set[int]) -> None:
        self.points = points

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_evaluate = state.global_step in self.points


class _Timed(Trainer):
    """Trainer on our schedule, which notes what its evaluations cost and say."""

    rates: np.ndarray[Any, Any]
    evaluating, evaluations, accuracy = 0.0, 0, 0.0

    def create_scheduler(self, *_: Any, **__: Any) -> Any:
        rates, lr = self.rates, self.args.learning_rate
        last = len(rates) - 1
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: rates[min(step, last)] / lr)
        return self.lr_scheduler

    def evaluate(self, *arguments: Any, **keywords: Any) -> dict[str, float]:
        started = _clock(self.args.device.type)
        found: dict[str, float] = super().evaluate(*arguments, **keywords)
        self.evaluating += _clock(self.args.device.type) - started
        self.evaluations, self.accuracy = self.evaluations + 1, found["eval_accuracy"]
        return found


def _run(
    task: FoldTask, tokenizer: PreTrainedTokenizerBase, points: set[int], width: int | None, **arguments: Any
) -> Run:
    training, validation = (_Rows(task, rows, width) for rows in (task.training, task.validation))
    knobs = task.knobs
    prepare_device(torch.device(task.device))  # TF32 on CUDA, for them as for us
    with tempfile.TemporaryDirectory() as folder:
        started = _clock(task.device)
        settings = TrainingArguments(
            folder,
            num_train_epochs=knobs.epochs,
            per_device_train_batch_size=knobs.batch_size,
            learning_rate=knobs.lr,
            weight_decay=knobs.weight_decay,
            max_grad_norm=knobs.max_grad_norm,
            label_smoothing_factor=knobs.label_smoothing,
            seed=task.seed,
            logging_steps=100,
            use_cpu=task.device == "cpu",
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **arguments,
        )
        trainer = _Timed(
            build_model(task.source, knobs, task.seed),
            settings,
            train_dataset=training,
            eval_dataset=validation,
            processing_class=tokenizer,  # its collator pads a batch to its longest row
            compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(1) == p.label_ids).mean())},
            callbacks=[_EvaluateAt(points)],
        )
        trainer.rates = make_schedule(task.total_steps, knobs).curve()
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        seconds = _clock(task.device) - started
    return Run(seconds, trainer.evaluating, trainer.evaluations, trainer.accuracy)
