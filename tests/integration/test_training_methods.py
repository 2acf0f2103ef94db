"""What each method of `[training]` does to a fold, and what it leaves as it is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.training.loop import start_fold, train_fold
from foldrace.trainer.training.prediction import predict
from foldrace.trainer.training.tasks import FoldResult, FoldTask, Progress
from tests.support.folds import EVERY_METHOD, Tamper, memory_for

MakeTask = Callable[..., FoldTask]


def finish(task: FoldTask) -> FoldResult:
    *_, result = train_fold(task)
    assert isinstance(result, FoldResult)
    return result


def initial_weights(task: FoldTask) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = build_model(task.source, task.knobs, task.seed).state_dict()
    return weights


def count_calls(tamper: Tamper) -> list[int]:
    """The rows of each pass through the model in training."""
    passes: list[int] = []

    def count(model: torch.nn.Module, _: object, kwargs: dict[str, torch.Tensor]) -> None:
        if model.training:
            passes.append(len(kwargs["input_ids"]))

    tamper(lambda model: model.register_forward_pre_hook(count, with_kwargs=True))
    return passes


# What is off


def test_with_every_method_off_a_step_is_one_pass_and_nothing_is_kept(make_task: MakeTask, tamper: Tamper) -> None:
    passes = count_calls(tamper)
    trainer = start_fold(make_task())

    trainer.train_step()

    assert passes == [8]
    assert trainer.state.average == {}
    assert not trainer.state.model.get_input_embeddings()._forward_hooks


# All at once


def test_micro_batches_have_the_gradients_of_the_batch(make_task: MakeTask, tamper: Tamper) -> None:
    """Without dropout, as two masks differ. R-Drop has no divergence then; test_losses has its sum over rows."""
    task = make_task(**EVERY_METHOD, dropout=0.0, batch_size=22)
    undisturbed = finish(task)
    tamper(memory_for(22))

    events = list(train_fold(task, progress_seconds=0))

    assert {event.micro_batch for event in events if isinstance(event, Progress)} == {11}
    assert isinstance(events[-1], FoldResult)
    assert undisturbed.curve[-1].train_loss < undisturbed.curve[0].train_loss
    losses = [[e.train_loss, e.eval_loss] for e in events[-1].curve]
    np.testing.assert_allclose(losses, [[e.train_loss, e.eval_loss] for e in undisturbed.curve], rtol=1e-3)


@pytest.mark.parametrize(
    ("knobs", "rows"),
    [({"rdrop_alpha": 1.0}, [16]), ({"fgm_epsilon": 0.1}, [8, 8]), ({"ema_decay": 0.9}, [8]), ({"freeze": 1}, [8])],
)
def test_a_step_makes_the_passes_that_its_method_needs(
    make_task: MakeTask, tamper: Tamper, knobs: dict[str, Any], rows: list[int]
) -> None:
    passes = count_calls(tamper)

    start_fold(make_task(**knobs)).train_step()

    assert passes == rows


# Each alone


def test_the_adversarial_gradient_is_added_to_the_one_of_the_rows(make_task: MakeTask) -> None:
    """An attack of next to no length doubles the gradient, and a step of SGD with it."""
    plain, doubled = (
        make_task(optimizer="sgd", lr=0.1, momentum=0.0, weight_decay=0.0, max_grad_norm=0.0, dropout=0.0, **knobs)
        for knobs in ({}, {"fgm_epsilon": 1e-6})
    )
    before = initial_weights(plain)
    steps = []
    for task in (plain, doubled):
        trainer = start_fold(task)
        trainer.train_step()
        steps.append({name: p.detach() - before[name] for name, p in trainer.state.model.named_parameters()})

    for name, step in steps[0].items():
        torch.testing.assert_close(steps[1][name], 2 * step, rtol=1e-2, atol=1e-6)


def test_frozen_parts_stay_as_they_are_and_the_others_learn(make_task: MakeTask) -> None:
    task = make_task(freeze=2, weight_decay=0.5)

    result = finish(task)

    before = initial_weights(task)
    is_kept = {name: torch.equal(before[name], tensor) for name, tensor in result.weights.items()}
    lowest = ("electra.embeddings.", "electra.encoder.layer.0.")
    assert all(kept == name.startswith(lowest) for name, kept in is_kept.items())


def test_layers_that_are_drawn_anew_are_trained_from_there(make_task: MakeTask) -> None:
    task = make_task(reinit_layers=1)

    found = start_fold(task).state.model.state_dict()

    before = initial_weights(task)
    changed = {name.split(".")[3] for name in found if not torch.equal(found[name], before[name])}
    assert changed == {"1"}
    assert all(
        name.startswith("electra.encoder.layer.") for name in found if not torch.equal(found[name], before[name])
    )


def test_every_layer_is_trained_at_its_share_of_the_schedule(make_task: MakeTask) -> None:
    trainer = start_fold(make_task(layer_lr_decay=0.5, lr=8e-3))

    for _ in range(2):
        trainer.train_step()

    lr = trainer.schedule.lr(1)
    rates = sorted({group["lr"] for group in trainer.state.optimizer.param_groups})
    assert rates == pytest.approx([lr / 8, lr / 4, lr / 2, lr])


def test_class_weights_are_those_of_the_rows_that_the_fold_trains_on(make_task: MakeTask) -> None:
    plain, weighted = (finish(make_task(class_weights=kind, lr=1e-8, dropout=0.0)) for kind in ("none", "balanced"))
    task = make_task()
    counts = np.bincount(task.labels[task.training])
    model = build_model(task.source, task.knobs, task.seed)
    true = predict(model, task.tokens, task.training, task.pad_id, None)[range(44), task.labels[task.training]]

    by_hand = np.mean(-np.log(true) * 44 / (3 * counts[task.labels[task.training]]))

    assert np.mean([e.train_loss for e in weighted.curve]) == pytest.approx(by_hand, rel=2e-2)
    assert weighted.curve[0].train_loss != plain.curve[0].train_loss


# The moving average


def test_an_average_leaves_training_as_it_is(make_task: MakeTask) -> None:
    plain, averaged = (finish(make_task(ema_decay=decay, dropout=0.2)) for decay in (0.0, 0.9))

    assert [e.train_loss for e in averaged.curve] == [e.train_loss for e in plain.curve]


@pytest.mark.parametrize("of_average", [True, False])
def test_an_evaluation_is_that_of_the_better_weights_and_keeps_them(make_task: MakeTask, of_average: bool) -> None:
    task = make_task(ema_decay=0.9)
    trained = finish(make_task(epochs=3))
    state = start_fold(task).state
    untrained = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    state.step = 4
    state.average = dict(trained.weights if of_average else untrained)
    state.model.load_state_dict(untrained if of_average else trained.weights)

    evaluation = start_fold(task).evaluator.evaluate(state)

    assert evaluation.scores == trained.best.scores
    assert np.array_equal(state.best_probabilities.numpy(), trained.probabilities)
    assert all(torch.equal(state.best[name], tensor) for name, tensor in trained.weights.items())
    last = untrained if of_average else trained.weights
    assert all(torch.equal(tensor, last[name]) for name, tensor in state.model.state_dict().items())


@pytest.mark.parametrize(("knobs", "copies"), [({}, 3), ({"ema_decay": 0.9}, 4), ({"freeze": 3}, 3)])
def test_memory_is_taken_for_what_is_trained_and_averaged(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, knobs: dict[str, Any], copies: int
) -> None:
    task = make_task(**knobs)
    taken: list[int] = []
    monkeypatch.setattr("foldrace.trainer.training.loop.reserve_memory", lambda sizes, _: taken.append(sum(sizes)))

    model = start_fold(task).state.model

    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert taken == [copies * trained + sum(p.nbytes for p in model.parameters())]
