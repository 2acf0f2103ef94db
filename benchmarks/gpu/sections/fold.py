"""A whole fold of the model of base size in bf16 and in fp32, and one of the small model beside the CPU's."""

import math
from dataclasses import replace

import numpy as np
import torch

from benchmarks.gpu.demo import demo_task, finish, open_demo
from benchmarks.gpu.report import Report, in_gigabytes
from benchmarks.gpu.setting import Setting
from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.training.prediction import predict
from foldrace.trainer.training.tasks import FoldResult, FoldTask

AGREE_ACCURACY = 0.1  # between two precisions: a fold's accuracy scatters by .02 to .04 from seed to seed
AGREE_LOSS = 0.25  # of the last evaluation loss, relative
RECOMPUTED = {"bf16": 0.1, "fp32": 0.02}  # of a probability; on CUDA, fp32 is TF32
DEVICES_AGREE = {"fp32": 0.01, "bf16": 0.05}  # of the first evaluation loss, relative to the CPU's in fp32


def run(setting: Setting, report: Report) -> None:
    data = open_demo(setting)
    results: dict[str, FoldResult] = {}
    for precision in ("bf16", "fp32"):
        task = demo_task(setting, data, precision=precision)
        results[precision] = finish(task)
        _show(setting, report, precision, task, results[precision])
        _recompute(report, precision, task, results[precision])
    bf16, fp32 = results["bf16"], results["fp32"]
    accuracies = [result.best.scores.accuracy for result in (bf16, fp32)]
    losses = [result.last.eval_loss for result in (bf16, fp32)]
    report.check(
        abs(accuracies[0] - accuracies[1]) <= AGREE_ACCURACY and math.isclose(*losses, rel_tol=AGREE_LOSS),
        f"bf16 and fp32 agree: best accuracy {accuracies[0]:.3f}, {accuracies[1]:.3f}; "
        f"last evaluation loss {losses[0]:.3f}, {losses[1]:.3f}",
    )
    ratio = bf16.cost.rows_per_second / fp32.cost.rows_per_second
    report.figure("bf16 over fp32", f"{ratio:.2f} times the rows per second")
    if setting.is_cuda:
        _beside_the_cpu(setting, report)


def _show(setting: Setting, report: Report, precision: str, task: FoldTask, result: FoldResult) -> None:
    first, last, cost = result.curve[0], result.curve[-1], result.cost
    reserved = f", {in_gigabytes(torch.cuda.max_memory_reserved())} reserved" if setting.is_cuda else ""
    report.figure(
        precision,
        f"{task.total_steps} steps of {task.knobs.batch_size} rows, {cost.rows_per_second:.0f} rows/s; "
        f"{cost.seconds_training:.2f} s in training, {cost.seconds_evaluating:.2f} s in {len(result.curve)} "
        f"evaluations of {len(task.validation)} rows; peak memory {in_gigabytes(cost.peak_memory)}{reserved}",
    )
    losses = [loss for evaluation in result.curve for loss in (evaluation.train_loss, evaluation.eval_loss)]
    report.check(bool(np.isfinite(losses).all()), f"{precision}: every loss is finite")
    report.check(
        last.train_loss < first.train_loss,
        f"{precision}: the training loss falls, {first.train_loss:.3f} to {last.train_loss:.3f}",
    )
    majority = np.bincount(task.labels[task.validation]).max() / len(task.validation)
    best = result.best.scores.accuracy
    said = f"{precision}: best accuracy {best:.3f}; of the majority class {majority:.3f}"
    report.check(setting.small or best >= majority - 0.01, said)


def _recompute(report: Report, precision: str, task: FoldTask, result: FoldResult) -> None:
    """The best weights, taken to the CPU and computed in fp32 there, say what they said on the device."""
    model = build_model(task.source, task.knobs, task.seed)
    model.load_state_dict(result.weights)
    again = predict(model, task.tokens, task.validation, task.pad_id, None)
    apart = float(np.abs(again - result.probabilities).max())
    report.check(
        apart <= RECOMPUTED[precision],
        f"{precision}: on the CPU in fp32 the probabilities are {apart:.2g} apart at most",
    )


def _beside_the_cpu(setting: Setting, report: Report) -> None:
    """The small model without dropout: the devices draw it from different generators."""
    data = open_demo(setting, "tiny")
    knobs = {"lr": 1e-3, "epochs": setting.choose(5, 2), "dropout": 0.0}
    cpu = finish(demo_task(replace(setting, device="cpu"), data, precision="fp32", **knobs))
    for precision, most in DEVICES_AGREE.items():
        cuda = finish(demo_task(setting, data, precision=precision, **knobs))
        apart = abs(cuda.curve[0].eval_loss / cpu.curve[0].eval_loss - 1)
        accuracies = cuda.best.scores.accuracy, cpu.best.scores.accuracy
        report.check(
            apart <= most and abs(accuracies[0] - accuracies[1]) <= AGREE_ACCURACY,
            f"tiny on CUDA in {precision} beside the CPU in fp32: first evaluation loss {apart:.2%} apart, "
            f"best accuracy {accuracies[0]:.3f} and {accuracies[1]:.3f}",
        )
