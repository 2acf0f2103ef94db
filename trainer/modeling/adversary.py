"""Adversarial training on the embeddings."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, XLNetPreTrainedModel

from foldrace.trainer.hub import ModelError


def refuse_two_embeddings(model: PreTrainedModel) -> None:
    """Raise ModelError where an encoder and a decoder read a row, each through embeddings of its own."""
    if model.config.is_encoder_decoder:
        found = f"a model of type {model.config.model_type} embeds its rows twice"
        raise ModelError(f"training.fgm_epsilon: {found}; leave it out")


class Adversary:
    """Moves the embeddings of each row to where its loss rises the fastest: the fast gradient method.

    Miyato et al. 2017, Adversarial Training Methods for Semi-Supervised Text Classification: r = epsilon * g / |g|,
    where g is the gradient of a row's loss by the embeddings of its tokens, and |g| the norm over the whole row. The
    embeddings are not normalised here as there: those of a pretrained encoder have their scale.

    Raises:
        ModelError: the model embeds its rows twice.
    """

    def __init__(self, model: PreTrainedModel, epsilon: float) -> None:
        refuse_two_embeddings(model)
        self._epsilon = epsilon
        self._row_axis = 1 if isinstance(model, XLNetPreTrainedModel) else 0  # XLNet has the tokens first
        self._embedded: Tensor | None = None
        self._change: Tensor | None = None
        model.get_input_embeddings().register_forward_hook(self._on_embedded)

    @contextmanager
    def attack(self) -> Iterator[None]:
        """Within it, the model reads the batch that went last through forward and backward with moved embeddings."""
        assert self._embedded is not None
        assert self._embedded.grad is not None
        gradient = self._embedded.grad.movedim(self._row_axis, 0)
        norm = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
        self._change = self._epsilon * (gradient / norm[:, None, None]).movedim(0, self._row_axis)
        try:
            yield
        finally:
            self._change = self._embedded = None

    def _on_embedded(self, _: nn.Module, __: object, output: Tensor) -> Tensor | None:
        if not torch.is_grad_enabled():
            return None
        if self._change is not None:
            return output + self._change
        self._embedded = output.requires_grad_() if not output.requires_grad else output  # frozen embeddings have none
        output.retain_grad()
        return output
