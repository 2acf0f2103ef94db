"""A fold whose process is killed while it writes a checkpoint ends, resumed, as one that nobody disturbed."""

import itertools
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.gpu.demo import demo_task, finish, open_demo
from benchmarks.gpu.report import Report, in_gigabytes
from benchmarks.gpu.runner import ROOT
from benchmarks.gpu.setting import Setting
from foldrace.storage.files.atomic import PARTIAL
from foldrace.trainer.training.checkpoint import Checkpoint, list_checkpoints, load_checkpoint
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.tasks import FoldResult, FoldTask, Progress

EPOCHS = 2
PATIENCE = 10.0  # seconds, until a process that says that it saves begins to write
TOLERANCE = 0.1  # of the last evaluation loss, relative, where the device's sums are not the same each time


def run(setting: Setting, report: Report) -> None:
    task = demo_task(setting, open_demo(setting), epochs=EPOCHS)
    undisturbed, again = finish(task), finish(task)
    report.figure("two undisturbed folds", _difference(again, undisturbed))
    checkpoint = _killed(setting, report, task.total_steps // 3)
    resumed = finish(task, load_checkpoint(checkpoint, task.hash()))
    report.figure(f"resumed from {checkpoint.name} of the killed process", _difference(resumed, undisturbed))
    if _same(again, undisturbed):
        report.check(_same(resumed, undisturbed), "the resumed fold ends bit by bit as the undisturbed one")
    else:
        losses = resumed.last.eval_loss, undisturbed.last.eval_loss
        report.check(
            math.isclose(*losses, rel_tol=TOLERANCE),
            f"not even undisturbed folds are bitwise alike; resumed, the last loss is within {TOLERANCE:.0%}",
        )
        _deterministically(report, task)
    _time_checkpoints(setting, report, task)


def _killed(setting: Setting, report: Report, first: int) -> Path:
    """The newest whole checkpoint of a process that was killed while it wrote a second one."""
    folder = setting.folder / "killed"
    command = [sys.executable, "-m", "benchmarks.gpu.fold_process", str(setting.folder), setting.device, str(EPOCHS)]
    command += [*["--small"] * setting.small, "--checkpoints", str(folder), "--first", str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        saving = (line for line in process.stdout if line.startswith("saving"))
        steps = [line.split()[1] for line in itertools.islice(saving, 2)]
        _wait_until_it_writes(folder)
        process.kill()
    if len(steps) < 2:
        raise RuntimeError(f"the fold's process ended with status {process.returncode} before its second checkpoint")
    files = sorted(path.name for path in folder.iterdir())
    report.figure("killed while it wrote the checkpoint of", f"step {steps[-1]}; it left {', '.join(files)}")
    return list_checkpoints(folder)[0]


def _wait_until_it_writes(folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not list(folder.glob(f"{PARTIAL}*")):
        time.sleep(0.001)


def _deterministically(report: Report, task: FoldTask) -> None:
    """With torch's deterministic algorithms, and a checkpoint that stays in memory."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    try:
        undisturbed, again = finish(task), finish(task)
        resumed = finish(task, _snapshot(task, task.total_steps // 3))
    except RuntimeError as error:
        report.unchecked("deterministic algorithms", str(error).splitlines()[0])
        return
    finally:
        torch.use_deterministic_algorithms(False)
    report.figure("with deterministic algorithms, two undisturbed folds", _difference(again, undisturbed))
    if _same(again, undisturbed):
        report.check(_same(resumed, undisturbed), "with deterministic algorithms the resumed fold is bitwise alike")


def _snapshot(task: FoldTask, step: int) -> Checkpoint:
    for event in train_fold(task, progress_seconds=0):
        if isinstance(event, Progress) and event.step >= step:
            return event.snapshot()
    raise RuntimeError(f"the fold has no step {step}")


def _same(result: FoldResult, expected: FoldResult) -> bool:
    weights = all(torch.equal(result.weights[name], tensor) for name, tensor in expected.weights.items())
    return weights and result.curve == expected.curve


def _difference(result: FoldResult, expected: FoldResult) -> str:
    if _same(result, expected):
        return "bitwise the same"
    apart = max(float((result.weights[name] - tensor).abs().max()) for name, tensor in expected.weights.items())
    losses = f"last evaluation loss {result.last.eval_loss:.5f} and {expected.last.eval_loss:.5f}"
    return f"weights up to {apart:.2g} apart, {losses}, best {result.best.best:.3f} and {expected.best.best:.3f}"


def _time_checkpoints(setting: Setting, report: Report, task: FoldTask) -> None:
    """What a checkpoint costs: from the device, into a file, and back."""
    folder, marks = setting.folder / "timed", []
    for event in train_fold(replace(task, validation=task.validation[:8]), progress_seconds=0):
        if isinstance(event, Progress) and event.step == 2:
            marks.append(time.perf_counter())
            snapshot = event.snapshot()
            marks.append(time.perf_counter())
            path = snapshot.save(folder)
            marks.append(time.perf_counter())
            break
    load_checkpoint(path, snapshot.task)
    marks.append(time.perf_counter())
    seconds = [later - earlier for earlier, later in itertools.pairwise(marks)]
    report.figure(
        "a checkpoint before the first evaluation",
        f"{in_gigabytes(path.stat().st_size)}: {seconds[0]:.2f} s from the device, {seconds[1]:.2f} s to write, "
        f"{seconds[2]:.2f} s to read",
    )
