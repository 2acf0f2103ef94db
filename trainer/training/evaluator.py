"""What judges a fold: its model on the validation part, and its training loss."""

import numpy as np
import torch

from foldrace.trainer.arrays import Float32Array
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.metrics import Scores, right_bits, score
from foldrace.trainer.modeling.average import averaged_weights
from foldrace.trainer.training.prediction import predict
from foldrace.trainer.training.schedule import Schedule
from foldrace.trainer.training.state import FoldState
from foldrace.trainer.training.tasks import FoldTask, NonFiniteLossError

_REMEDY = "a lower training.lr may help"
_TINY = np.finfo(np.float32).tiny  # a probability that was rounded to 0 needs a finite logarithm


class Evaluator:
    """Judges a fold at the points of docs/design.md, section 4.

    Attributes:
        points: the numbers of steps done at which the fold is judged, ascending. A fold without validation rows has
            one, its end: its only record has no scores, and its last weights are kept.
    """

    def __init__(self, task: FoldTask, schedule: Schedule, dtype: torch.dtype | None) -> None:
        self._task, self._schedule, self._dtype = task, schedule, dtype
        self.points = schedule.evaluation_points(task.knobs.evaluations if len(task.validation) else 1)

    def evaluate(self, state: FoldState) -> EvaluationRecord:
        """Judge the model, and add the evaluation to the state. The state keeps the weights of a new best.

        With a moving average, the averaged weights are judged too, and the evaluation is that of the better ones. It
        takes twice the time. To take the better of two raises a score by chance, as does the best of several points.
        Without validation rows nothing tells which is better, and the average is kept.

        Raises:
            NonFiniteLossError: the training loss, or a probability, is not finite.
        """
        train_loss = self.mean_loss(state)
        state.count_training()
        evaluation, probabilities = self._judge(state, train_loss)
        of_average = False
        if state.average:
            with averaged_weights(state.model, state.average):
                other, other_probabilities = self._judge(state, train_loss)
            is_better = self._value(other.scores) > self._value(evaluation.scores)
            of_average = is_better or not len(self._task.validation)
            if of_average:
                evaluation, probabilities = other, other_probabilities
        state.add_evaluation(evaluation, probabilities, of_average)
        state.count_evaluating()
        return evaluation

    def mean_loss(self, state: FoldState) -> float:
        """The mean training loss per row since the last evaluation. Waits for the device.

        Raises:
            NonFiniteLossError: it is not finite.
        """
        loss = float(state.loss) / max(state.loss_rows, 1)
        if not np.isfinite(loss):
            lr = self._schedule.lr(state.step - 1)
            raise NonFiniteLossError(
                f"the training loss is {loss} by step {state.step} of {self._task.total_steps} (lr {lr:.3g}); {_REMEDY}"
            )
        return loss

    def _judge(self, state: FoldState, train_loss: float) -> tuple[EvaluationRecord, Float32Array]:
        """The evaluation of the weights that the model has, and the probabilities of the validation rows."""
        task = self._task
        probabilities = predict(state.model, task.tokens, task.validation, task.pad_id, self._dtype)
        weights = [] if len(task.validation) else [*state.model.parameters()]  # without rows, nothing else tells
        if not np.isfinite(probabilities).all() or not all(bool(weight.isfinite().all()) for weight in weights):
            raise NonFiniteLossError(
                f"the weights are not finite after step {state.step} of {task.total_steps}; {_REMEDY}"
            )
        return self._record(state, train_loss, probabilities), probabilities

    def _value(self, scores: Scores) -> float:
        value: float = getattr(scores, self._task.metric)
        return value

    def _record(self, state: FoldState, train_loss: float, probabilities: Float32Array) -> EvaluationRecord:
        task, step = self._task, state.step
        labels = task.labels[task.validation]
        if not len(labels):
            return self._unscored(state, train_loss)
        scores = score(probabilities, labels, task.no_relation)
        true = probabilities[np.arange(len(labels)), labels]
        value = self._value(scores)
        return EvaluationRecord(
            index=(len(state.curve) + 1) * task.knobs.evaluations // len(self.points) - 1,
            step=step,
            epoch=step / task.steps_per_epoch,
            cycle_end=step in self._schedule.cycle_ends,
            lr=self._schedule.lr(step - 1),
            train_loss=train_loss,
            eval_loss=float(-np.log(np.maximum(true, _TINY)).mean()),
            scores=scores,
            right=right_bits(probabilities, labels),
            # Which rows were right says how an accuracy scatters. It says nothing of another metric.
            rows=len(labels) if task.metric == "accuracy" else 0,
            best=max(value, state.curve[-1].best) if state.curve else value,
        )

    def _unscored(self, state: FoldState, train_loss: float) -> EvaluationRecord:
        """The record of a fold without validation rows; `best` is 0, as a stored record has to have one."""
        task, step = self._task, state.step
        return EvaluationRecord(
            index=task.knobs.evaluations - 1,
            step=step,
            epoch=step / task.steps_per_epoch,
            cycle_end=step in self._schedule.cycle_ends,
            lr=self._schedule.lr(step - 1),
            train_loss=train_loss,
            best=0.0,
        )
