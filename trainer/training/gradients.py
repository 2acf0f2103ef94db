"""The loss of some rows and its gradients."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.data.batching import Batch
from foldrace.trainer.modeling.adversary import Adversary
from foldrace.trainer.modeling.head_dropout import sampled_logits
from foldrace.trainer.modeling.losses import RDROP_PASSES, loss_sum
from foldrace.trainer.modeling.shortcuts import is_capturable
from foldrace.trainer.training.cuda_graphs import CudaGraphs, Inputs

_LABELS = "labels"


class Gradients:
    """Adds the gradients of rows to those that a model's parameters have."""

    def __init__(
        self, model: PreTrainedModel, knobs: Hyperparameters, dtype: torch.dtype | None, weights: Tensor | None
    ) -> None:
        """`dtype`: of autocast, None for none; `weights`: those of the classes."""
        self._model, self._knobs, self._dtype, self._weights = model, knobs, dtype, weights
        self._adversary = Adversary(model, knobs.fgm_epsilon) if knobs.fgm_epsilon > 0 else None
        is_nvidia = model.device.type == "cuda" and torch.version.hip is None
        self._graphs = CudaGraphs() if is_nvidia and self._adversary is None and is_capturable(model) else None

    def add(self, batch: Batch, labels: Tensor, batch_rows: int) -> Tensor:
        """Add the gradients of some rows of a batch of `batch_rows`, divided by those.

        Returns:
            Their loss, summed over the rows. The next call may overwrite it.
        """
        inputs = {**batch, _LABELS: labels}
        if self._graphs is None:
            return self._add(inputs, batch_rows)
        return self._graphs(lambda held: self._add(held, batch_rows), inputs, batch_rows)

    @property
    def stay(self) -> bool:
        """Whether the gradients have to stay where they lie from batch to batch, as graphs add to them there."""
        return self._graphs is not None

    def drop_graphs(self) -> bool:
        """Give the memory of CUDA graphs back, and capture no more. Whether there were any."""
        if self._graphs is None or not self._graphs.any:
            return False
        self._graphs.drop()
        return True

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
