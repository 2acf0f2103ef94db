"""What the device is, how fast it multiplies and copies, and whether our count of devices is torch's."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.gpu.report import Report, in_gigabytes
from benchmarks.gpu.runner import ROOT
from benchmarks.gpu.setting import Setting
from foldrace.search.workers.slots import cores, count_cuda_devices, slots

SIDE = 8192  # of the matrices
COPIED = 4 * 2**30  # bytes
REPEATS = 10
SEEN = "import torch; print(torch.cuda.device_count(), torch.cuda.get_device_properties(0).uuid)"


def run(setting: Setting, report: Report) -> None:
    report.figure("torch", f"{torch.__version__}, CUDA {torch.version.cuda}; {cores()} cores")
    found = count_cuda_devices()
    torch_finds = torch.cuda.device_count()
    report.check(found == torch_finds, f"CUDA devices: {found} by the driver, {torch_finds} by torch")
    if not setting.is_cuda:
        report.unchecked("the device", "there is no CUDA device")
        return
    properties = torch.cuda.get_device_properties(0)
    report.figure(
        "device",
        f"{properties.name}, compute capability {properties.major}.{properties.minor}, "
        f"{properties.multi_processor_count} multiprocessors, {in_gigabytes(properties.total_memory)}; "
        f"bf16 in hardware: {torch.cuda.is_bf16_supported(including_emulation=False)}",
    )
    if shutil.which("nvidia-smi"):
        report.figure(
            "nvidia-smi -L", subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.strip()
        )
    _compare_slots(report, str(properties.uuid))
    _multiply(report)
    _copy(report)


def _compare_slots(report: Report, uuid: str) -> None:
    """That a worker's environment leaves it the one device that its slot names."""
    for slot in slots(per_device=2)[:2]:
        environment = {**os.environ, **slot.environment()}
        command = [sys.executable, "-c", SEEN]
        seen = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True).stdout.strip()
        report.check(seen == f"1 {uuid}", f"worker {slot.index} on {slot.device}, {slot.threads} threads, sees {seen}")


def _multiply(report: Report) -> None:
    for name, dtype, precision in (
        ("bf16", torch.bfloat16, "highest"),
        ("TF32", torch.float32, "high"),
        ("fp32", torch.float32, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=dtype) for _ in range(2))
        out = torch.empty_like(left)
        seconds = _seconds(partial(torch.mm, left, right, out=out))
        report.figure(f"{name} product of {SIDE} x {SIDE}", f"{2 * SIDE**3 / seconds / 1e12:.0f} TFLOP/s")


def _copy(report: Report) -> None:
    there, target = (torch.empty(COPIED, dtype=torch.uint8, device="cuda") for _ in range(2))
    on_device = 2 * COPIED / _seconds(lambda: target.copy_(there)) / 1e12
    pinned = torch.empty(COPIED // 16, dtype=torch.uint8, pin_memory=True)
    plain = torch.empty(COPIED // 16, dtype=torch.uint8)
    part = there[: len(pinned)]
    up = len(pinned) / _seconds(lambda: part.copy_(pinned, non_blocking=True)) / 1e9
    down = len(plain) / _seconds(lambda: plain.copy_(part)) / 1e9
    report.figure(
        "copies",
        f"{on_device:.2f} TB/s on the device (read and written), {up:.0f} GB/s to it from pinned memory, "
        f"{down:.1f} GB/s from it to plain memory",
    )


def _seconds(work: Callable[[], object]) -> float:
    """The mean of some repeats, after a warm-up."""
    for _ in range(2):
        work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(REPEATS):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / REPEATS
