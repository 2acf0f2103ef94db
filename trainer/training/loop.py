"""One fold, from its first step to its result: the training loop, read from top to bottom.

`train_fold` is a generator: whoever iterates decides, and to stop is to stop iterating. It never yields inside a
context manager, and nothing it does depends on when or how often it yields.
"""

import time
from collections.abc import Generator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from foldrace.errors import FoldraceError
from foldrace.trainer.arrays import IntArray
from foldrace.trainer.data.batching import assemble, epoch_batches, to_device
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.metrics import right_bits, score
from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.modeling.devices import (
    autocast_dtype,
    is_out_of_memory,
    peak_memory,
    prepare_device,
)
from foldrace.trainer.modeling.losses import loss_sum
from foldrace.trainer.modeling.optimizer import make_optimizer
from foldrace.trainer.modeling.shortcuts import apply_shortcuts
from foldrace.trainer.training.checkpoint import Checkpoint, CheckpointError
from foldrace.trainer.training.prediction import predict
from foldrace.trainer.training.schedule import make_schedule
from foldrace.trainer.training.tasks import FoldResult, FoldTask, Progress

PROGRESS_SECONDS = 2.0  # between two signs of life
_REMEDY = "a lower training.lr may help"


class NonFiniteLossError(FoldraceError):
    """The loss became NaN or infinite: the fold cannot recover."""


class OutOfMemoryError(FoldraceError):
    """Not even one row at a time fits on the device."""


class NoRoomError(RuntimeError):
    """The device has no room for the model itself: no fault of the trial, nor one that a user is there to mend."""


def train_fold(
    task: FoldTask, resume: Checkpoint | None = None, progress_seconds: float = PROGRESS_SECONDS
) -> Generator[Progress | EvaluationRecord | FoldResult]:
    """Train a fold from its start, or go on from a checkpoint of the same task.

    Yields:
        `Progress` about every `progress_seconds` and after each evaluation, an `EvaluationRecord` at each point of
        docs/design.md, section 4, and last the `FoldResult`.

    Raises:
        NonFiniteLossError: seen within one progress interval.
        NoRoomError: the model, or what a checkpoint has beside it, does not fit.
        OutOfMemoryError: not even one row fits.
        CheckpointError: `resume` belongs to another task.
    """
    fold = _placed(task, resume)
    del resume  # as large as the model and its optimiser
    shown = time.monotonic()
    while fold.step < fold.total:
        fold.train_step()
        judged = fold.step in fold.points
        if judged:
            evaluation = fold.evaluate()
            random = fold.random_state()
            yield evaluation
            fold.go_on(random)
        if judged or time.monotonic() - shown >= progress_seconds:
            progress, random = fold.progress(), fold.random_state()
            yield progress
            fold.go_on(random)
            shown = time.monotonic()
    yield fold.result()


def _placed(task: FoldTask, resume: Checkpoint | None) -> "_Fold":
    try:
        fold = _Fold(task)
        if resume is not None:
            fold.restore(resume)
        return fold
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
    raise NoRoomError(f"{task.device} has no room for {task.source.name}; is another program using it? ({reason})")


class _Fold:
    """The state of a fold: all of it is in `snapshot`, and nothing else matters to its future."""

    def __init__(self, task: FoldTask) -> None:
        self.task = task
        self.device = torch.device(task.device)
        self.dtype = autocast_dtype(task.knobs, self.device)
        prepare_device(self.device)
        self.model = apply_shortcuts(build_model(task.source, task.knobs, task.seed).to(self.device), self.device)
        self.optimizer = make_optimizer(self.model, task.knobs)
        self.total = task.total_steps
        self.schedule = make_schedule(self.total, task.knobs)
        self.learning_rates = self.schedule.curve()
        self.points = self.schedule.evaluation_points(task.knobs.evaluations)
        self.steps_per_epoch = self.total // task.knobs.epochs
        self.step = 0
        self.micro_batch = task.knobs.batch_size
        self.curve: list[EvaluationRecord] = []
        self.best_weights: dict[str, Tensor] = {}
        self.best_probabilities: Tensor = torch.empty(0)
        self.loss = torch.zeros((), device=self.device)  # summed since the last evaluation; read only when shown
        self.loss_rows = 0
        self.seconds_training = self.seconds_evaluating = 0.0
        self.batches: list[IntArray] = []
        self.batches_epoch = -1
        self._training_lengths = task.tokens.lengths[task.training]
        self._clock = time.perf_counter()
        torch.manual_seed(task.seed)

    # Training

    def train_step(self) -> None:
        """One optimiser step over one batch; halves the micro-batch when the device is out of memory."""
        rows = self._next_rows()
        lr = self.learning_rates[self.step]
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        while not self._fits(rows):
            self._halve()
        if self.task.knobs.max_grad_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.task.knobs.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.loss_rows += len(rows)

    def _next_rows(self) -> IntArray:
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if epoch != self.batches_epoch:
            order = epoch_batches(self._training_lengths, self.task.knobs.batch_size, self.task.seed, epoch)
            self.batches, self.batches_epoch = [self.task.training[batch] for batch in order], epoch
        return self.batches[position]

    def _fits(self, rows: IntArray) -> bool:
        """Gradients of a batch; False when the device ran out of memory (then nothing of it is left)."""
        before = self.loss
        try:
            for start in range(0, len(rows), self.micro_batch):
                self._accumulate(rows[start : start + self.micro_batch], len(rows))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self.loss = before
            return False
        return True

    def _accumulate(self, rows: IntArray, batch_rows: int) -> None:
        batch = assemble(self.task.tokens, rows, self.task.pad_id, self.device)
        labels = to_device(self.task.labels[rows], self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            logits = self.model(**batch).logits
        loss = loss_sum(logits, labels, self.task.knobs)
        (loss / batch_rows).backward()  # type: ignore[no-untyped-call]
        self.loss = self.loss + loss.detach()

    def _halve(self) -> None:
        # Outside any `except`: there, the failed frame would keep its tensors alive.
        self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.micro_batch == 1:
            raise OutOfMemoryError(
                f"out of memory on {self.device} with one row at a time; "
                "lower model.max_length, or set training.gradient_checkpointing = true"
            )
        self.micro_batch = -(-min(self.micro_batch, self.task.knobs.batch_size) // 2)

    # EvaluationRecord

    def evaluate(self) -> EvaluationRecord:
        """Judge the fold here, and keep its weights if they are the best so far."""
        train_loss = self._mean_loss()
        self._spent_training()
        task, step = self.task, self.step
        probabilities = predict(self.model, task.tokens, task.validation, task.pad_id, self.dtype)
        if not np.isfinite(probabilities).all():
            raise NonFiniteLossError(f"the weights are not finite after step {step} of {self.total}; {_REMEDY}")
        labels = task.labels[task.validation]
        scores = score(probabilities, labels, task.no_relation)
        true = probabilities[np.arange(len(labels)), labels]
        value = getattr(scores, task.metric)
        best = self.curve[-1].best if self.curve else -1.0
        if value > best:
            self.best_weights = {name: t.detach().clone() for name, t in self.model.state_dict().items()}
            self.best_probabilities = torch.from_numpy(probabilities)
        evaluation = EvaluationRecord(
            index=(len(self.curve) + 1) * task.knobs.evaluations // len(self.points) - 1,
            step=step,
            epoch=step / self.steps_per_epoch,
            cycle_end=step in self.schedule.cycle_ends,
            lr=float(self.learning_rates[step - 1]),
            train_loss=train_loss,
            eval_loss=float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).mean()),
            scores=scores,
            right=right_bits(probabilities, labels),
            # Which rows were right says how an accuracy scatters, and nothing of another metric.
            rows=len(labels) if task.metric == "accuracy" else 0,
            best=max(value, best),
        )
        self.curve.append(evaluation)
        self.loss, self.loss_rows = torch.zeros((), device=self.device), 0
        self._spent_evaluating()
        return evaluation

    # What the consumer sees

    def progress(self) -> Progress:
        self._mean_loss()
        self._spent_training()
        rate = self.step * self.task.knobs.batch_size / max(self.seconds_training, 1e-9)
        snapshot = partial(self.snapshot, self.random_state())  # before the consumer draws from it
        return Progress(self.step, self.total, self.step / self.steps_per_epoch, rate, self.micro_batch, snapshot)

    def result(self) -> FoldResult:
        test = train = None
        if self.task.test is not None:
            self.model.load_state_dict(self.best_weights)
            every = np.arange(len(self.task.test.lengths))
            test = predict(self.model, self.task.test, every, self.task.pad_id, self.dtype)
            train = predict(self.model, self.task.tokens, self.task.training, self.task.pad_id, self.dtype)
        self._spent_evaluating()
        return FoldResult(
            curve=tuple(self.curve),
            probabilities=self.best_probabilities.numpy(),
            test_probabilities=test,
            train_probabilities=train,
            weights={name: tensor.cpu() for name, tensor in self.best_weights.items()},
            seconds_training=self.seconds_training,
            seconds_evaluating=self.seconds_evaluating,
            rows_per_second=self.task.knobs.epochs * len(self.task.training) / max(self.seconds_training, 1e-9),
            peak_memory=peak_memory(self.device),
            threads=torch.get_num_threads(),
            micro_batch=self.micro_batch,
        )

    def _mean_loss(self) -> float:
        """The mean training loss since the last evaluation; waits for the device."""
        loss = float(self.loss) / max(self.loss_rows, 1)
        if not np.isfinite(loss):
            raise NonFiniteLossError(
                f"the training loss is {loss} by step {self.step} of {self.total} "
                f"(lr {self.learning_rates[self.step - 1]:.3g}); {_REMEDY}"
            )
        return loss

    def _spent_training(self) -> None:
        now = time.perf_counter()
        self.seconds_training += now - self._clock
        self._clock = now

    def _spent_evaluating(self) -> None:
        now = time.perf_counter()
        self.seconds_evaluating += now - self._clock
        self._clock = now

    # Checkpoints

    def random_state(self) -> Tensor:
        """The state of the generator that dropout draws from."""
        return torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else torch.get_rng_state()

    def go_on(self, random: Tensor) -> None:
        """Forget what the consumer did meanwhile: the numbers it drew and the time it took."""
        self._set_random_state(random)
        self._clock = time.perf_counter()

    def _set_random_state(self, state: Tensor) -> None:
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state, self.device)
        else:
            torch.set_rng_state(state)

    def snapshot(self, random: Tensor) -> Checkpoint:
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best_weights.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": tensor for name, tensor in state.items() if tensor is not None}
        tensors |= {"random": random, "loss": self.loss, "best_probabilities": self.best_probabilities}
        state = {
            "device": self.device.type,
            "micro_batch": self.micro_batch,
            "loss_rows": self.loss_rows,
            "seconds_training": self.seconds_training,
            "seconds_evaluating": self.seconds_evaluating,
            "curve": [evaluation.to_json() for evaluation in self.curve],
        }
        copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        return Checkpoint(self.task.hash(), self.step, copies, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        if checkpoint.task != self.task.hash():
            raise CheckpointError("the checkpoint belongs to another study, fold or trial")
        state, tensors = checkpoint.state, checkpoint.tensors
        self.step = checkpoint.step
        self.micro_batch = state["micro_batch"]
        self.loss_rows = state["loss_rows"]
        self.seconds_training = state["seconds_training"]
        self.seconds_evaluating = state["seconds_evaluating"]
        self.curve = [EvaluationRecord.from_json(record) for record in state["curve"]]
        self.loss = tensors["loss"].to(self.device)
        self.best_probabilities = tensors["best_probabilities"]
        self.best_weights = {name: t.to(self.device) for name, t in _within(tensors, "best").items()}
        self.model.load_state_dict(_within(tensors, "model"))
        self._restore_optimizer(_within(tensors, "optimizer"))
        if state["device"] == self.device.type:  # one kind of device cannot read the other's random state
            self._set_random_state(tensors["random"])

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})


def _within(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
