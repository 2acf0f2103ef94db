"""A fold as its consumer sees it: what it tells, what stops it, and what it leaves behind when it is left."""

import gc
import itertools
import weakref
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from foldrace.trainer.data.batching import Tokens
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.metrics import right_bits, score
from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.training import loop as training
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.prediction import predict
from foldrace.trainer.training.tasks import (
    FoldResult,
    FoldTask,
    NonFiniteLossError,
    NoRoomError,
    OutOfMemoryError,
    Progress,
)
from tests.support.folds import Tamper, memory_for

MakeTask = Callable[..., FoldTask]


def finish(task: FoldTask, **arguments: Any) -> FoldResult:
    *_, result = train_fold(task, **arguments)
    assert isinstance(result, FoldResult)
    return result


def test_a_fold_learns_what_can_be_learnt(make_task: MakeTask) -> None:
    result = finish(make_task(epochs=6))

    assert result.best.scores.accuracy > 0.9
    assert result.curve[-1].train_loss < result.curve[0].train_loss


def test_a_fold_tells_its_evaluations_in_order_and_its_result_last(make_task: MakeTask) -> None:
    task = make_task()

    *events, result = train_fold(task, progress_seconds=1e9)

    assert [type(event) for event in events] == [EvaluationRecord, Progress] * 3
    assert isinstance(result, FoldResult)
    assert result.curve == tuple(event for event in events if isinstance(event, EvaluationRecord))
    assert [e.step for e in result.curve] == [4, 8, 12]
    assert task.total_steps == 12
    assert all(later.best >= earlier.best for earlier, later in itertools.pairwise(result.curve))


def test_a_fold_of_few_steps_is_compared_at_the_same_fractions_as_one_of_many(make_task: MakeTask) -> None:
    short = finish(make_task(batch_size=22, evaluations=8))
    long = finish(make_task(batch_size=4, evaluations=8))

    assert [(e.step, e.index) for e in short.curve] == [(1, 1), (2, 3), (3, 5), (4, 7)]
    assert [e.index for e in long.curve] == list(range(8))


def test_an_evaluation_scores_the_rows_in_their_order(make_task: MakeTask) -> None:
    task = make_task()

    result = finish(task)

    labels = task.labels[task.validation]
    assert result.best.scores == score(result.probabilities, labels, task.no_relation)
    assert result.best.right == right_bits(result.probabilities, labels)


def test_predictions_come_in_the_order_of_the_rows(make_task: MakeTask) -> None:
    task = make_task()
    model = build_model(task.source, task.knobs, task.seed)
    rows = np.random.default_rng(1).permutation(60)

    together = predict(model, task.tokens, rows, task.pad_id, None)

    alone = np.concatenate([predict(model, task.tokens, rows[i : i + 1], task.pad_id, None) for i in range(60)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_rows_that_do_not_fit_at_once_are_predicted_in_halves(make_task: MakeTask) -> None:
    task = make_task()
    model = build_model(task.source, task.knobs, task.seed)
    whole = predict(model, task.tokens, task.training, task.pad_id, None)
    calls = []

    def refuse(_: torch.nn.Module, __: object, kwargs: dict[str, torch.Tensor]) -> None:
        calls.append(len(kwargs["input_ids"]))
        if calls[-1] > 11:
            raise torch.OutOfMemoryError("no room")

    model.register_forward_pre_hook(refuse, with_kwargs=True)

    halved = predict(model, task.tokens, task.training, task.pad_id, None)

    assert calls == [44, 22, 11, 11, 22, 11, 11]
    np.testing.assert_allclose(halved, whole, atol=1e-5)


def test_a_final_job_predicts_its_test_rows_and_its_training_part(make_task: MakeTask) -> None:
    test = Tokens(np.array([4, 7, 10, 5, 8]), None, np.array([0, 3, 5]))

    result = finish(make_task(test=test))

    assert result.test_probabilities is not None
    assert result.test_probabilities.shape == (2, 3)
    assert result.train_probabilities is not None
    assert result.train_probabilities.shape == (44, 3)


def test_the_best_weights_give_the_best_probabilities(make_task: MakeTask) -> None:
    task = make_task()

    result = finish(task)

    model = build_model(task.source, task.knobs, seed=99)
    model.load_state_dict(result.weights)
    again = predict(model, task.tokens, task.validation, task.pad_id, None)
    np.testing.assert_allclose(again, result.probabilities, atol=1e-5)


def test_a_fold_without_validation_rows_has_no_score_and_keeps_its_last_weights(make_task: MakeTask) -> None:
    task = replace(make_task(epochs=1), validation=np.empty(0, np.int64))

    records = [event for event in train_fold(task) if isinstance(event, EvaluationRecord)]
    result, last = finish(task), finish(make_task(epochs=1, evaluations=1))

    assert len(records) == len(result.curve) == 1
    assert (result.best.index, result.best.step, result.best.rows) == (2, task.total_steps, 0)
    assert np.isnan(result.best.scores.accuracy)
    assert np.isfinite(result.best.train_loss)
    assert result.probabilities.shape == (0, 3)
    assert all(torch.equal(tensor, last.weights[name]) for name, tensor in result.weights.items())


def test_a_fold_without_validation_rows_resumes_to_the_bit(make_task: MakeTask) -> None:
    task = replace(make_task(epochs=1), validation=np.empty(0, np.int64))
    with closing(train_fold(task, progress_seconds=0)) as events:
        saved = next(event for event in events if isinstance(event, Progress) and event.step == 3).snapshot()

    resumed = next(event for event in train_fold(task, saved) if isinstance(event, FoldResult))

    assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in finish(task).weights.items())


def test_weights_that_are_no_numbers_end_a_fold_without_validation_rows(make_task: MakeTask, tamper: Tamper) -> None:
    unused = torch.nn.Parameter(torch.tensor(torch.inf))  # the loss does not tell
    tamper(lambda model: model.register_parameter("unused", unused))
    task = replace(make_task(epochs=1), validation=np.empty(0, np.int64))

    with pytest.raises(NonFiniteLossError, match="the weights are not finite after step"):
        finish(task)


def test_consumers_that_draw_random_numbers_do_not_matter(make_task: MakeTask) -> None:
    task = make_task(dropout=0.3)
    undisturbed = finish(task, progress_seconds=1e9)

    curve = []
    for event in train_fold(task, progress_seconds=0):
        torch.manual_seed(3)
        np.random.seed(3)
        if isinstance(event, EvaluationRecord):
            curve.append(event)

    assert tuple(curve) == undisturbed.curve


def test_two_folds_in_turns_are_as_alone(make_task: MakeTask) -> None:
    tasks = [make_task(seed=seed) for seed in (1, 2)]
    alone = [finish(task) for task in tasks]

    *_, together = zip(*(train_fold(task, progress_seconds=1e9) for task in tasks), strict=True)

    for result, expected in zip(together, alone, strict=True):
        assert isinstance(result, FoldResult)
        assert result.curve == expected.curve


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_no_context_is_open_when_the_fold_yields(make_task: MakeTask, precision: str) -> None:
    for _ in train_fold(make_task(precision=precision), progress_seconds=0):
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("event", [Progress, EvaluationRecord])
def test_a_fold_that_is_left_holds_no_memory(make_task: MakeTask, tamper: Tamper, event: type) -> None:
    models: list[weakref.ref[PreTrainedModel]] = []
    tamper(lambda model: models.append(weakref.ref(model)))

    with closing(train_fold(make_task(), progress_seconds=0)) as events:
        next(e for e in events if isinstance(e, event))
    del events
    gc.collect()

    assert models[0]() is None


def test_a_loss_that_is_no_number_stops_the_fold_by_its_next_evaluation(make_task: MakeTask, tamper: Tamper) -> None:
    calls: list[int] = []

    def poison(model: torch.nn.Module, _: object, output: Any) -> None:
        calls.append(1)
        if model.training and len(calls) > 5:
            output.logits = output.logits * torch.nan

    tamper(lambda model: model.register_forward_hook(poison))
    seen: list[object] = []

    with pytest.raises(NonFiniteLossError, match="the training loss is nan by step 8 of 12"):
        seen.extend(train_fold(make_task(), progress_seconds=1e9))

    assert [event.step for event in seen if isinstance(event, EvaluationRecord)] == [4]


def test_probabilities_that_are_no_numbers_are_never_the_best(make_task: MakeTask, tamper: Tamper) -> None:
    def poison(model: torch.nn.Module, _: object, output: Any) -> None:
        output.logits = output.logits * (1.0 if model.training else torch.nan)

    tamper(lambda model: model.register_forward_hook(poison))

    with pytest.raises(NonFiniteLossError, match="not finite after step 4 of 12"):
        list(train_fold(make_task()))


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch(make_task: MakeTask, tamper: Tamper) -> None:
    task = make_task(dropout=0.0)
    undisturbed = finish(task)
    tamper(memory_for(3))

    events = list(train_fold(task, progress_seconds=0))

    assert {event.micro_batch for event in events if isinstance(event, Progress)} == {2}
    assert isinstance(events[-1], FoldResult)
    losses = [[e.train_loss, e.eval_loss] for e in events[-1].curve]
    np.testing.assert_allclose(losses, [[e.train_loss, e.eval_loss] for e in undisturbed.curve], rtol=1e-4)


def test_a_batch_that_fails_half_way_counts_once(make_task: MakeTask, tamper: Tamper) -> None:
    task = make_task(dropout=0.0)
    undisturbed = finish(task)
    calls = itertools.count()

    def refuse(*_: object) -> None:  # the first batch, and then the second half of it
        if next(calls) in (0, 2):
            raise torch.OutOfMemoryError("no room")

    tamper(lambda model: model.register_forward_pre_hook(refuse))

    result = finish(task)

    assert result.cost.micro_batch == 2
    losses = [e.train_loss for e in result.curve]
    np.testing.assert_allclose(losses, [e.train_loss for e in undisturbed.curve], rtol=1e-4)


def test_one_row_that_does_not_fit_ends_the_fold(make_task: MakeTask, tamper: Tamper) -> None:
    tamper(memory_for(0))

    with pytest.raises(OutOfMemoryError, match="out of memory on cpu with one row at a time"):
        next(train_fold(make_task()))


@pytest.mark.parametrize(("optimizer", "copies"), [("adamw", 4), ("sgd", 3)])
def test_a_device_without_room_for_the_optimiser_has_none_for_the_fold(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, optimizer: str, copies: int
) -> None:
    task = make_task(optimizer=optimizer)
    weights = sum(p.nbytes for p in build_model(task.source, task.knobs, task.seed).parameters())

    def reserve(sizes: list[int], _: torch.device) -> None:
        raise torch.OutOfMemoryError(f"no room for {sum(sizes) / weights:g} times the weights")

    monkeypatch.setattr(training, "reserve_memory", reserve)

    with pytest.raises(NoRoomError, match=rf"no room for {copies} times the weights"):
        next(train_fold(task))


def test_gradient_checkpointing_changes_nothing(make_task: MakeTask) -> None:
    plain, checkpointed = (finish(make_task(gradient_checkpointing=on, dropout=0.2)) for on in (False, True))

    losses = [e.eval_loss for e in checkpointed.curve]
    np.testing.assert_allclose(losses, [e.eval_loss for e in plain.curve], rtol=1e-5)


def test_a_fold_reports_what_it_cost(make_task: MakeTask) -> None:
    result = finish(make_task())

    assert result.cost.seconds_training > 0
    assert result.cost.seconds_evaluating > 0
    assert result.cost.rows_per_second == pytest.approx(2 * 44 / result.cost.seconds_training)
    assert 2**26 < result.cost.peak_memory < 2**36
    assert result.cost.threads == torch.get_num_threads()
