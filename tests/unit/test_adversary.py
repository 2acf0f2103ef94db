"""The fast gradient method, held to what it is: the steepest change of a given length, row by row."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    PreTrainedModel,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.hub import ModelError
from foldrace.trainer.modeling.adversary import Adversary
from foldrace.trainer.modeling.classifier import ModelSource, build_model, check_source
from foldrace.trainer.modeling.losses import loss_sum
from foldrace.trainer.modeling.shortcuts import apply_shortcuts

KNOBS = Hyperparameters(dropout=0.0)
MASK = (torch.arange(10) < torch.tensor([[10], [4], [7]])).long()
IDS = torch.randint(3, 60, MASK.shape, generator=torch.Generator().manual_seed(0)) * MASK
LABELS = torch.tensor([0, 1, 2])


def small_model() -> PreTrainedModel:
    model = build_model(ModelSource("tiny", 60, 3, 32), KNOBS, seed=0)
    return apply_shortcuts(model, torch.device("cpu"))


def row_losses(model: PreTrainedModel, rows: slice = slice(None)) -> Tensor:
    logits = model(input_ids=IDS[rows], attention_mask=MASK[rows]).logits
    labels = LABELS[rows]
    return torch.stack([loss_sum(logits[i : i + 1], labels[i : i + 1], KNOBS) for i in range(len(labels))])


def attacked(model: PreTrainedModel, epsilon: float, rows: slice = slice(None)) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of rows, those under attack, and the change of their embeddings."""
    adversary = Adversary(model, epsilon)
    seen: list[Tensor] = []
    model.get_input_embeddings().register_forward_hook(lambda _, __, output: seen.append(output))
    losses = row_losses(model, rows)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    with adversary.attack():
        worse = row_losses(model, rows)
    return losses.detach(), worse, (seen[1] - seen[0]).detach()


def test_the_change_of_each_row_has_the_length_that_was_asked() -> None:
    _, _, change = attacked(small_model(), 0.3)

    torch.testing.assert_close(change.flatten(1).norm(dim=1), torch.full((3,), 0.3), rtol=1e-4, atol=0)


def test_the_loss_rises_by_the_length_of_the_gradient() -> None:
    """To the first order, no change of this length raises it more."""
    model = small_model()
    embedded: list[Tensor] = []
    handle = model.get_input_embeddings().register_forward_hook(lambda _, __, output: embedded.append(output))
    slopes = torch.autograd.grad(row_losses(model).sum(), embedded[0])[0].flatten(1).norm(dim=1)
    handle.remove()

    losses, worse, _ = attacked(model, 1e-2)

    torch.testing.assert_close((worse - losses) / 1e-2, slopes, rtol=0.05, atol=0)


def test_padding_is_left_as_it_is() -> None:
    _, _, change = attacked(small_model(), 0.3)

    assert not change[MASK == 0].any()


def test_a_row_is_changed_as_if_it_were_alone() -> None:
    together = attacked(small_model(), 0.3)[2]

    alone = attacked(small_model(), 0.3, slice(1, 2))[2]

    torch.testing.assert_close(alone, together[1:2], rtol=1e-3, atol=1e-5)


def test_frozen_embeddings_are_attacked_too_and_get_no_gradient() -> None:
    model = small_model()
    model.get_input_embeddings().requires_grad_(False)

    losses, worse, _ = attacked(model, 0.3)

    assert (worse > losses).all()
    assert model.get_input_embeddings().weight.grad is None


def test_nothing_is_changed_after_the_attack_or_in_evaluation() -> None:
    model = small_model()
    before = row_losses(model).detach()
    adversary = Adversary(model, 5.0)
    row_losses(model).sum().backward()  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        evaluated = row_losses(model)
    with adversary.attack(), pytest.raises(RuntimeError, match="no room"):
        raise RuntimeError("no room")

    assert torch.equal(row_losses(model), before)
    assert torch.equal(evaluated, before)


def test_a_row_without_a_gradient_stays_where_it_is() -> None:
    model = small_model()
    adversary = Adversary(model, 0.3)
    (row_losses(model).sum() * 0.0).backward()  # type: ignore[no-untyped-call]
    with adversary.attack():
        losses = row_losses(model)

    torch.testing.assert_close(losses, row_losses(model))


def test_a_row_of_a_family_that_has_the_tokens_first_is_changed_by_the_length_that_was_asked() -> None:
    config = XLNetConfig(vocab_size=60, d_model=16, n_layer=1, n_head=2, d_inner=32, num_labels=3, dropout=0.0)

    _, _, change = attacked(XLNetForSequenceClassification(config).train(), 0.3)

    torch.testing.assert_close(change.norm(dim=(0, 2)), torch.full((3,), 0.3), rtol=1e-4, atol=0)


def test_a_model_that_embeds_its_rows_twice_is_refused_in_one_line(tmp_path: Path) -> None:
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = BartConfig(vocab_size=60, d_model=8, encoder_ffn_dim=8, decoder_ffn_dim=8, **sizes)
    config.save_pretrained(tmp_path)
    source = ModelSource(str(tmp_path), 60, 3, 32)

    check_source(source, KNOBS)
    for refused in (
        lambda: check_source(source, Hyperparameters(fgm_epsilon=0.3)),
        lambda: Adversary(BartForSequenceClassification(config), 0.3),
    ):
        message = r"^training\.fgm_epsilon: a model of type bart embeds its rows twice; leave it out$"
        with pytest.raises(ModelError, match=message):
            refused()
