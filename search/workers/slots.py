"""The devices that the workers run on: one slot for each worker process, with the environment that confines it.

A slot's environment must be set before its process imports torch. This module never imports torch: it runs in the
supervisor, which must start in about a second and stay small.
"""

import ctypes
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foldrace.errors import FoldraceError, short_repr

MOST_WORKERS = 1000  # that one command starts on a device
_NO_DEVICE = (100, 34)  # CUDA_ERROR_NO_DEVICE; CUDA_ERROR_STUB_LIBRARY, the driver of an image built without one


class SlotError(FoldraceError):
    """The devices asked for cannot be used."""


@dataclass(frozen=True)
class Slot:
    """The place of one worker process.

    Attributes:
        device: `cpu` or `cuda:N`, counted among the devices that the supervisor sees. The worker itself sees no other
            device, so there it is always `cuda:0`.
        threads: the cores of its machine that the worker may use.
        place: for people, where that is more than the device.
    """

    index: int
    device: str
    threads: int
    place: str = ""

    def environment(self) -> dict[str, str]:
        """The variables that a worker's environment needs before it imports torch."""
        return {
            **_visibility(self.device, os.environ),
            "OMP_NUM_THREADS": str(self.threads),
            "MKL_NUM_THREADS": str(self.threads),
            "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait slow down the others on these cores
            "TOKENIZERS_PARALLELISM": "false",
        }


def slots(devices: str = "auto", workers: int | None = None, per_device: int = 1) -> tuple[Slot, ...]:
    """One slot for each worker to start.

    Args:
        devices: `auto` (every CUDA device, or else the CPU), `cpu`, or CUDA indices such as `0,1,3`.
        workers: the number of workers on the CPU, and at most so many on CUDA. By default CUDA has one for each place,
            and the CPU has two where there are two cores: two workers with half the cores each do more than one with
            all of them, and each further one keeps another model and optimiser in memory.
        per_device: workers that share each CUDA device. Every device gets its first before any gets a second.

    Every worker has the same number of threads, so a fold gives the same sums on whichever worker it resumes.

    Raises:
        SlotError: `devices` is malformed, or names a device that is not there; a count is not 1 to `MOST_WORKERS`.
    """
    for option, count in (("--workers", workers), ("--per-device", per_device)):
        if count is not None and not 1 <= count <= MOST_WORKERS:
            raise SlotError(f"{option} {count}: expected 1 to {MOST_WORKERS}")
    available = cores()
    places = [f"cuda:{index}" for index in _cuda_indices(devices)] * per_device
    if not places:
        places = ["cpu"] * (workers or min(available, 2))
    places = places[:workers]
    threads = max(1, available // len(places))
    return tuple(Slot(index, device, threads) for index, device in enumerate(places))


def count_cuda_devices() -> int:
    """The number of CUDA devices that this process may use, counted by the driver itself.

    The driver honours CUDA_VISIBLE_DEVICES in all its forms (indices, UUIDs, MIG). It answers in a fraction of the time
    that importing torch takes, and needs no nvidia-smi. Afterwards this process numbers devices as nvidia-smi does, by
    bus, unless the user has chosen another order.

    Raises:
        SlotError: there is a driver, and it does not start.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    if "CUDA_VISIBLE_DEVICES" not in os.environ:  # else the user knows the order of its numbers
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # CUDA's own order is by speed
    count = ctypes.c_int(0)
    error = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if error and error not in _NO_DEVICE:
        raise SlotError(f"the CUDA driver does not start (its error {error}); --devices cpu runs without it")
    return count.value


def cores() -> int:
    """The cores that this process can use: its affinity, or a cgroup's CPU quota where that is less; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(allowed, cgroup_quota())))


def cgroup_quota(membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """The smallest CPU quota, in cores, of the cgroups (version 1 or 2) around this process; infinite without one.

    Inside a container a listed folder may be missing, because the mount begins further down. Then the folders above it
    hold the quota.

    Args:
        membership: the file that lists the process's cgroups.
        root: where they are mounted.
    """
    if not membership.is_file():
        return math.inf
    quotas = [math.inf]
    for line in membership.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "cpu" if controllers else root
        inside = (mount / path.lstrip("/")).relative_to(mount)
        quotas += [_quota(mount / folder) for folder in (inside, *inside.parents)]
    return min(quotas)


def _quota(folder: Path) -> float:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except OSError:
        return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)


def _cuda_indices(devices: str) -> list[int]:
    """The indices of the CUDA devices that `--devices` means; none for the CPU."""
    if devices == "cpu":
        return []
    if devices == "auto":
        return list(range(count_cuda_devices()))
    parts = [part.strip() for part in devices.split(",")]
    if not all(re.fullmatch("[0-9]{1,4}", part) for part in parts):
        raise SlotError(f"--devices {short_repr(devices)}: expected auto, cpu, or CUDA indices such as 0,1,3")
    indices = [int(part) for part in parts]
    found = count_cuda_devices()
    for position, index in enumerate(indices):
        if index in indices[:position]:
            raise SlotError(f"--devices {devices}: {index} is listed twice; --per-device puts two workers on each")
        if index >= found:
            seen = f"0 to {found - 1}" if found > 1 else "0 only" if found else "none"
            raise SlotError(f"--devices {devices}: no CUDA device {index}; found: {seen}")
    return indices


def _visibility(device: str, outer: Mapping[str, str]) -> dict[str, str]:
    """The variables that show a process one device or none, given those that confine this process already."""
    if device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    index = int(device.removeprefix("cuda:"))
    if "CUDA_VISIBLE_DEVICES" in outer:
        return {"CUDA_VISIBLE_DEVICES": outer["CUDA_VISIBLE_DEVICES"].split(",")[index].strip()}
    return {"CUDA_VISIBLE_DEVICES": str(index), "CUDA_DEVICE_ORDER": outer.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")}
