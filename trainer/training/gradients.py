"""The loss of some rows and its gradients."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.data.batching import Batch
from foldrace.trainer.modeling.adversary import Adversary
from foldrace.trainer.modeling.head_dropout import sampled_logits
from foldrace.trainer.modeling.losses import RDROP_PASSES, loss_sum
from foldrace.trainer.modeling.shortcuts import launches_alike
from foldrace.trainer.training.replay import Inputs, Replay

_LABELS = "labels"


class Gradients:
    """Adds the gradients of rows to those that a model's parameters have."""

    def __init__(
        self, model: PreTrainedModel, knobs: Hyperparameters, dtype: torch.dtype | None, weights: Tensor | None
    ) -> None:
        """`dtype`: of autocast, None for none; `weights`: those of the classes."""
        self._model, self._knobs, self._dtype, self._weights = model, knobs, dtype, weights
        self._adversary = Adversary(model, knobs.fgm_epsilon) if knobs.fgm_epsilon > 0 else None
        replays = model.device.type == "cuda" and self._adversary is None and launches_alike(model)
        self._replay = Replay() if replays and not knobs.gradient_checkpointing else None

    def add(self, batch: Batch, labels: Tensor, batch_rows: int) -> Tensor:
        """Add the gradients of some rows of a batch of `batch_rows`, divided by those.

        Returns:
            Their loss, summed over the rows. The next call may overwrite it.
        """
        inputs = {**batch, _LABELS: labels}
        if self._replay is None:
            return self._add(inputs, batch_rows)
        return self._replay(lambda inputs: self._add(inputs, batch_rows), inputs, batch_rows)

    @property
    def stay(self) -> bool:
        """Whether the gradients have to stay where they lie from batch to batch."""
        return self._replay is not None

    def record_nothing(self) -> None:
        """Give the memory of recordings back, and launch everything one by one from here on."""
        self._replay = None

    def _add(self, inputs: Inputs, batch_rows: int) -> Tensor:
        loss = self._loss(inputs)
        (loss / batch_rows).backward()  # type: ignore[no-untyped-call]
        if self._adversary is not None:
            with self._adversary.attack():
                (self._loss(inputs) / batch_rows).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _loss(self, inputs: Inputs) -> Tensor:
        knobs = self._knobs
        batch = {name: column for name, column in inputs.items() if name != _LABELS}
        if knobs.rdrop_alpha > 0:
            batch = {name: column.repeat(RDROP_PASSES, 1) for name, column in batch.items()}
        with torch.autocast(self._model.device.type, self._dtype, enabled=self._dtype is not None):
            logits = sampled_logits(self._model, batch, knobs.dropout_samples)
        return loss_sum(logits, inputs[_LABELS], knobs, self._weights)
