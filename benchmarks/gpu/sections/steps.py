"""Where a step's time goes: the kernels that take most of it, and the share of it in which the device is idle."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.demo import demo_task, finish, open_demo
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from foldrace.trainer.data.batching import EVALUATION_TOKENS
from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.modeling.devices import autocast_dtype, prepare_device
from foldrace.trainer.modeling.shortcuts import apply_shortcuts
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.prediction import predict
from foldrace.trainer.training.tasks import FoldTask, Progress
from tests.support.cuda import launched_by_python

KERNELS = 14  # shown
ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
LAUNCH_BOUND = 0.3  # of a step: above it, the device waits for Python more than a step's own gaps explain
# How a step's kernels are launched.
WAYS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "replayed": nullcontext,
    "launched by Python": launched_by_python,
}
BATCHES = (32, 64, 128, 256)
SIZES = (3072, 8192, 16384, 32768)  # padded tokens of an evaluation batch
PRECISIONS = ("bf16", "fp32")


@dataclass(frozen=True)
class Trace:
    """What the device did in some steps: seconds a step, launches a step, seconds of each kernel over all steps."""

    busy: float
    launches: float
    kernels: Counter[str]


def run(setting: Setting, report: Report) -> None:
    data = open_demo(setting)
    task = demo_task(setting, data, epochs=setting.choose(4, 2), evaluations=4)
    task = replace(task, validation=task.validation[:32])  # steps, and next to no evaluation
    if setting.is_cuda:
        _show_traces(report, task, setting.folder / "trace.json")
        _show_folds(report, demo_task(setting, data, epochs=4))
    else:
        report.unchecked("kernels and idle time", "there is no CUDA device")
    _show_batches(setting, report, task)
    _show_evaluations(setting, report, demo_task(setting, data))


def _parts(task: FoldTask) -> Iterator[int]:
    """The steps between two evaluations, without a wait in between; yields how many they were."""
    step = 0
    with closing(train_fold(task, progress_seconds=1e9)) as events:
        for event in events:
            if isinstance(event, Progress):
                yield event.step - step
                step = event.step


def _seconds_per_step(task: FoldTask) -> float:
    """The best part but for the first, which sets everything up; ends when the device has done it."""
    parts, seconds = _parts(task), []
    next(parts)
    for _ in range(task.knobs.evaluations - 1):
        started = time.perf_counter()
        steps = next(parts, 0)
        if steps:
            seconds.append((time.perf_counter() - started) / steps)
    return min(seconds)


def _trace(task: FoldTask, path: Path) -> Trace:
    parts = _parts(task)
    next(parts)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        steps = next(parts)
    profiler.export_chrome_trace(str(path))
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    done = [event for event in events if event.get("cat") in ON_DEVICE]
    kernels: Counter[str] = Counter()
    for event in done:
        kernels[_short(event)] += event["dur"] / 1e6
    return Trace(_union(done) / steps, len(done) / steps, kernels)


def _short(event: dict[str, Any]) -> str:
    """A kernel's name without its template's arguments."""
    name: str = event["name"].removeprefix("void ")
    return name.partition("<")[0][:60] if name.count("<") < 2 else f"{name.partition('<')[0]}<{name.split('<')[1][:40]}"


def _union(events: list[dict[str, Any]]) -> float:
    """Seconds in which at least one of them ran."""
    total, end = 0.0, 0.0
    for start, length in sorted((float(event["ts"]), float(event["dur"])) for event in events):
        total += max(0.0, start + length - max(start, end))
        end = max(end, start + length)
    return total / 1e6


def _show_traces(report: Report, task: FoldTask, path: Path) -> None:
    for way, launched in WAYS.items():
        with launched():
            seconds, trace = _seconds_per_step(task), _trace(task, path)
        report.figure(f"a step of {task.knobs.batch_size} rows, {way}", f"{seconds * 1e3:.2f} ms")
        if not trace.kernels:
            report.unchecked("kernels and idle time", "the profiler saw no kernel; it may not be allowed to look")
            return
        idle = max(0.0, 1 - trace.busy / seconds)
        verdict = "launch-bound: Python takes longer than the device" if idle > LAUNCH_BOUND else "not launch-bound"
        report.figure("the device computes", f"{trace.busy * 1e3:.2f} ms of a step, in {trace.launches:.0f} kernels")
        report.figure("the device is idle", f"{idle:.0%} of a step's time without the profiler; {verdict}")
    whole = sum(trace.kernels.values())
    rows = [[f"`{name}`", f"{spent / whole:.1%}"] for name, spent in trace.kernels.most_common(KERNELS)]
    report.table(["kernel or copy", "share of the device's time"], rows)


def _show_folds(report: Report, task: FoldTask) -> None:
    """Two folds of each kind: cuDNN prepares its attention anew for every shape, which the first of them pays."""
    rows = []
    for precision, (way, launched) in product(PRECISIONS, WAYS.items()):
        knobs = task.knobs.model_copy(update={"precision": precision})
        for turn in ("first", "second"):
            with launched():
                cost = finish(replace(task, knobs=knobs)).cost
            spent = f"{cost.seconds_training:.2f}", f"{cost.seconds_evaluating:.2f}"
            rows.append([f"{precision}, {way}, {turn}", *spent, f"{cost.rows_per_second:.0f}"])
    report.table([f"fold of {task.knobs.epochs} epochs", "s in training", "s in evaluations", "rows/s"], rows)


def _show_batches(setting: Setting, report: Report, task: FoldTask) -> None:
    rows = []
    for size in setting.choose(BATCHES, BATCHES[:2]):
        sized = replace(task, knobs=task.knobs.model_copy(update={"batch_size": size}))
        found = []
        for launched in WAYS.values():
            with launched():
                found.append(_seconds_per_step(sized))
        rows.append([str(size), *(f"{seconds * 1e3:.2f}" for seconds in found), f"{size / found[0]:.0f}"])
    report.table(["rows a step", *(f"ms, {way}" for way in WAYS), "rows/s"], rows)


def _show_evaluations(setting: Setting, report: Report, task: FoldTask) -> None:
    """Evaluation batches of other sizes than ours: the fewest tokens that fill the device are enough."""
    device = torch.device(setting.device)
    prepare_device(device)
    model = apply_shortcuts(build_model(task.source, task.knobs, task.seed).to(device), device)
    ours, every, rows = EVALUATION_TOKENS[device.type], np.arange(len(task.labels)), []
    try:
        for tokens in setting.choose(SIZES, SIZES[:1]):
            EVALUATION_TOKENS[device.type] = tokens
            seconds = []
            for _ in range(3):
                started = time.perf_counter()
                predict(model, task.tokens, every, task.pad_id, autocast_dtype(task.knobs, device))
                seconds.append(time.perf_counter() - started)
            rows.append([f"{tokens}{' (ours)' * (tokens == ours)}", f"{len(every) / min(seconds):.0f}"])
    finally:
        EVALUATION_TOKENS[device.type] = ours
    report.table(["padded tokens an evaluation batch", "rows/s"], rows)
