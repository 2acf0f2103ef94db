"""One fold, from its first step to its result: the training loop, read from top to bottom.

`train_fold` is a generator. Its consumer decides whether a fold goes on, and stops it by not iterating. The generator
never yields inside a context manager, because the consumer would run inside that context. Nothing that it computes
depends on when or how often it yields.
"""

import time
from collections.abc import Generator

import numpy as np
import torch
from transformers import PreTrainedModel

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.arrays import IntArray
from foldrace.trainer.data.batching import TrainingPart, assemble, epoch_batches, to_device
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.modeling.average import update_average
from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.modeling.devices import (
    autocast_dtype,
    is_out_of_memory,
    peak_memory,
    prepare_device,
    release_memory,
    reserve_memory,
)
from foldrace.trainer.modeling.head_dropout import refuse_missing_dropout
from foldrace.trainer.modeling.layers import change_layers
from foldrace.trainer.modeling.losses import class_weights
from foldrace.trainer.modeling.optimizer import MOMENTS, make_optimizer, set_lr
from foldrace.trainer.modeling.shortcuts import apply_shortcuts
from foldrace.trainer.training.checkpoint import Checkpoint, CheckpointError
from foldrace.trainer.training.evaluator import Evaluator
from foldrace.trainer.training.gradients import Gradients
from foldrace.trainer.training.prediction import predict
from foldrace.trainer.training.schedule import make_schedule
from foldrace.trainer.training.state import FoldState
from foldrace.trainer.training.tasks import FoldCost, FoldResult, FoldTask, NoRoomError, OutOfMemoryError, Progress

PROGRESS_SECONDS = 2.0  # between two signs of life


def train_fold(
    task: FoldTask, resume: Checkpoint | None = None, progress_seconds: float = PROGRESS_SECONDS
) -> Generator[Progress | EvaluationRecord | FoldResult]:
    """Train a fold from its start, or go on from a checkpoint of the same task.

    Args:
        resume: is used up: its tensors become the fold's.
        progress_seconds: about how long the generator may be silent while it trains.

    Yields:
        An `EvaluationRecord` at each point of docs/design.md, section 4. `Progress` after each evaluation, and about
        every `progress_seconds`. Last, the `FoldResult`.

    Raises:
        NonFiniteLossError: the loss is not finite. It is noticed at the next event.
        NoRoomError: the device has no room for the model, its optimiser and its best weights.
        OutOfMemoryError: the device has no room for one row.
        CheckpointError: `resume` belongs to another task.
    """
    trainer = start_fold(task, resume)
    del resume  # as large as the model and its optimiser
    state, evaluator = trainer.state, trainer.evaluator
    last_progress = time.monotonic()
    while state.step < task.total_steps:
        trainer.train_step()
        is_point = state.step in evaluator.points
        if is_point:
            evaluation = evaluator.evaluate(state)
            state.pause()
            yield evaluation
            state.resume()
        if is_point or time.monotonic() - last_progress >= progress_seconds:
            progress = trainer.progress()
            state.pause()
            yield progress
            state.resume()
            last_progress = time.monotonic()
    yield _result(trainer)


def start_fold(task: FoldTask, resume: Checkpoint | None = None) -> "FoldTrainer":
    """A fold before its first step, or where the checkpoint left it."""
    if resume is not None and resume.task != task.hash():
        raise CheckpointError("the checkpoint belongs to another study, fold or trial")
    try:
        trainer = FoldTrainer(task)
        if resume is not None:
            trainer.state.restore(resume)
        return trainer
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        reason = ". ".join(str(error).splitlines()[0].split(". ")[:2])  # torch goes on with advice for programmers
    raise NoRoomError(f"{task.device} has no room for {task.source.name}; is another program using it? ({reason})")


class FoldTrainer:
    """Takes the optimiser steps of a fold. What a step changes is in `state`; all else follows from the task."""

    def __init__(self, task: FoldTask) -> None:
        device, knobs = torch.device(task.device), task.knobs
        prepare_device(device)
        model = build_model(task.source, knobs, task.seed, task.pad_id)
        refuse_missing_dropout(model, knobs)
        change_layers(model, knobs, task.seed)
        model = apply_shortcuts(model.to(device), device)
        weights = class_weights(task.labels[task.training], task.source.classes, knobs)
        self.dtype = autocast_dtype(knobs, device)
        self._gradients = Gradients(model, knobs, self.dtype, None if weights is None else weights.to(device))
        _reserve(model, knobs, device)
        optimizer = make_optimizer(model, knobs)
        torch.manual_seed(task.seed)
        self.task = task
        self.state = FoldState(model, optimizer, device, micro_batch=knobs.batch_size)
        self.schedule = make_schedule(task.total_steps, knobs)
        self.evaluator = Evaluator(task, self.schedule, self.dtype)
        self._batches: list[IntArray] = []
        self._batches_epoch = -1
        self._part = TrainingPart(task.tokens, task.labels, task.training)

    def train_step(self) -> None:
        """Take one optimiser step over one batch, in smaller parts where the device runs out of memory."""
        state, knobs = self.state, self.task.knobs
        rows = self._next_rows()
        set_lr(state.optimizer, self.schedule.lr(state.step))
        while not self._compute_gradients(rows):
            self._make_room()
        if knobs.max_grad_norm > 0:
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), knobs.max_grad_norm)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=not self._gradients.stay)
        if knobs.ema_decay > 0:
            update_average(state.average, state.model, knobs.ema_decay, state.step)
        state.step += 1
        state.loss_rows += len(rows)

    def _next_rows(self) -> IntArray:
        """Positions in the tokens of the epoch's training part, of the batch of this step."""
        epoch, position = divmod(self.state.step, self.task.steps_per_epoch)
        if epoch != self._batches_epoch:
            self._part = self.task.part(epoch)
            order = epoch_batches(self._part.lengths, self.task.knobs.batch_size, self.task.seed, epoch)
            self._batches, self._batches_epoch = [self._part.rows[batch] for batch in order], epoch
        return self._batches[position]

    def _compute_gradients(self, rows: IntArray) -> bool:
        """Whether the gradients of a batch fit into memory. Where they do not, its loss is not counted."""
        state = self.state
        loss_before = state.loss
        try:
            for start in range(0, len(rows), state.micro_batch):
                self._accumulate(rows[start : start + state.micro_batch], len(rows))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            state.loss = loss_before
            return False
        return True

    def _accumulate(self, rows: IntArray, batch_rows: int) -> None:
        """Add the gradients and the loss of some rows of a batch of `batch_rows`."""
        task, state = self.task, self.state
        batch = assemble(self._part.tokens, rows, task.pad_id, state.device)
        labels = to_device(self._part.labels[rows], state.device)
        state.loss = state.loss + self._gradients.add(batch, labels, batch_rows)

    def _make_room(self) -> None:
        """Do without CUDA graphs; where there are none, halve the micro-batch."""
        # Called outside of the `except` block: in it, the traceback would keep the tensors of the failed step alive.
        state = self.state
        had_graphs = self._gradients.drop_graphs()
        state.optimizer.zero_grad(set_to_none=not self._gradients.stay)
        release_memory(state.device)
        if had_graphs:
            return
        if state.micro_batch == 1:
            raise OutOfMemoryError(
                f"out of memory on {state.device} with one row at a time; "
                "lower model.max_length, or set training.gradient_checkpointing = true"
            )
        state.micro_batch = -(-min(state.micro_batch, self.task.knobs.batch_size) // 2)

    def progress(self) -> Progress:
        """The sign of life of this step. Waits for the device, and raises NonFiniteLossError."""
        task, state = self.task, self.state
        self.evaluator.mean_loss(state)
        state.count_training()
        rate = state.step * task.knobs.batch_size / max(state.seconds_training, 1e-9)
        epoch = state.step / task.steps_per_epoch
        return Progress(
            state.step, task.total_steps, epoch, rate, state.micro_batch, lambda: state.snapshot(task.hash())
        )


def _reserve(model: PreTrainedModel, knobs: Hyperparameters, device: torch.device) -> None:
    """Take the memory of what comes later, as a device without room for it has none for the fold.

    These are the best weights, and of what is trained the gradients, the moments and the average.
    """
    copies = 1 + MOMENTS[knobs.optimizer] + (knobs.ema_decay > 0)
    trained = [p.nbytes for p in model.parameters() if p.requires_grad]
    reserve_memory([*copies * trained, *(p.nbytes for p in model.parameters())], device)


def _result(trainer: FoldTrainer) -> FoldResult:
    """The result of a fold after its last step. For a final job, it predicts with the best weights."""
    task, state = trainer.task, trainer.state
    test = train = None
    if task.test is not None:
        state.model.load_state_dict(state.best)
        test_rows = np.arange(len(task.test.lengths))
        test = predict(state.model, task.test, test_rows, task.pad_id, trainer.dtype)
        train = predict(state.model, task.tokens, task.training, task.pad_id, trainer.dtype)
    state.count_evaluating()
    return FoldResult(
        curve=tuple(state.curve),
        probabilities=state.best_probabilities.numpy(),
        test_probabilities=test,
        train_probabilities=train,
        weights={name: tensor.cpu() for name, tensor in state.best.items()},
        cost=_cost(task, state),
    )


def _cost(task: FoldTask, state: FoldState) -> FoldCost:
    rows = task.knobs.epochs * len(task.training)
    return FoldCost(
        seconds_training=state.seconds_training,
        seconds_evaluating=state.seconds_evaluating,
        rows_per_second=rows / max(state.seconds_training, 1e-9),
        peak_memory=peak_memory(state.device),
        threads=torch.get_num_threads(),
        micro_batch=state.micro_batch,
    )
