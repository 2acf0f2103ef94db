"""Which devices the workers run on: one slot for each worker process, with the environment that confines it.

A slot's environment has to be set before its process imports torch. This module never imports torch itself:
it runs in the supervisor, which has to start in about a second and stay small.
"""

import ctypes
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foldrace.errors import FoldraceError

_NO_DEVICE = (100, 34)  # CUDA_ERROR_NO_DEVICE; CUDA_ERROR_STUB_LIBRARY, the driver of an image built without one


class SlotError(FoldraceError):
    """The devices asked for cannot be used."""


@dataclass(frozen=True)
class Slot:
    """The place of one worker process.

    `device` is `cpu` or `cuda:N`, N counted among the devices that the supervisor sees. The worker itself sees
    no other device, so there it is always `cuda:0`. `threads`: cores of this machine that are the worker's.
    """

    index: int
    device: str
    threads: int

    def environment(self) -> dict[str, str]:
        """What to add to a worker's environment before it imports torch."""
        return {
            **_visibility(self.device, os.environ),
            "OMP_NUM_THREADS": str(self.threads),
            "MKL_NUM_THREADS": str(self.threads),
            "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait starve whoever shares the cores
            "TOKENIZERS_PARALLELISM": "false",
        }


def slots(devices: str = "auto", workers: int | None = None, per_device: int = 1) -> tuple[Slot, ...]:
    """One slot for each worker to start.

    Args:
        devices: `auto` (every CUDA device, or else the CPU), `cpu`, or CUDA indices such as `0,1,3`.
        workers: on CUDA the most workers to start, on the CPU how many. By default as many as there are places
            on CUDA, and on the CPU two where there are two cores: two with half the cores each do more than one
            with all of them, and each further one holds another model and optimiser in memory.
        per_device: workers that share each CUDA device. Every device gets its first before any gets a second.

    Each gets as many threads as any other, so that a fold gives the same sums whichever worker it resumes on.
    Raises SlotError when `devices` is malformed, names a device that is not there, or a count is below 1.
    """
    for option, count in (("--workers", workers), ("--per-device", per_device)):
        if count is not None and count < 1:
            raise SlotError(f"{option} {count}: expected 1 or more")
    available = cores()
    places = [f"cuda:{index}" for index in _cuda_indices(devices)] * per_device
    if not places:
        places = ["cpu"] * (workers or min(available, 2))
    places = places[:workers]
    threads = max(1, available // len(places))
    return tuple(Slot(index, device, threads) for index, device in enumerate(places))


def count_cuda_devices() -> int:
    """CUDA devices that this process may use, counted by the driver itself.

    It honours CUDA_VISIBLE_DEVICES with all its forms (indices, UUIDs, MIG) in a fraction of the time it takes
    to import torch, and needs no nvidia-smi. From here on this process numbers devices as nvidia-smi does, by bus,
    unless the user has said how. Raises SlotError when there is a driver and it does not start.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    if "CUDA_VISIBLE_DEVICES" not in os.environ:  # else its numbers are in the order that the user knows
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # CUDA's own order is by speed
    count = ctypes.c_int(0)
    error = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if error and error not in _NO_DEVICE:
        raise SlotError(f"the CUDA driver does not start (its error {error}); --devices cpu runs without it")
    return count.value


def cores() -> int:
    """Cores that this process can keep busy: its affinity, or a cgroup's CPU quota where that is less; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(allowed, cgroup_quota())))


def cgroup_quota(membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """The least CPU quota, in cores, of the cgroups (version 1 or 2) around this process; infinite when none is set.

    `membership` lists the process's cgroups, `root` is where they are mounted. Inside a container a listed
    folder may not be there, since the mount begins further down: then the folders above it hold the quota.
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
    """The CUDA devices that `--devices` means; none of them is the CPU."""
    if devices == "cpu":
        return []
    if devices == "auto":
        return list(range(count_cuda_devices()))
    parts = [part.strip() for part in devices.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise SlotError(f"--devices {devices!r}: expected auto, cpu, or CUDA indices such as 0,1,3")
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
    """The variables that leave a process one device (or none), given those that confine this process already."""
    if device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    index = int(device.removeprefix("cuda:"))
    if "CUDA_VISIBLE_DEVICES" in outer:
        return {"CUDA_VISIBLE_DEVICES": outer["CUDA_VISIBLE_DEVICES"].split(",")[index].strip()}
    return {"CUDA_VISIBLE_DEVICES": str(index), "CUDA_DEVICE_ORDER": outer.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")}
