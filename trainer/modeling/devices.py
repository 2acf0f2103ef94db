"""What differs between a CPU and a CUDA device: the name, the precision, the memory, the random numbers."""

import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

from foldrace.errors import FoldraceError
from foldrace.studies.knobs import Hyperparameters

# What the CPU, the CUDA driver and cuBLAS say when they cannot allocate.
_OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
MAX_NAME_LENGTH = 50  # characters of a device's name in the table of workers; a UUID has 40, that of a MIG slice more
_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")  # only Linux has them


class DeviceError(FoldraceError):
    """The device cannot be computed on."""


def resolve_device(device: str) -> str:
    """`cpu` or `cuda`. For `auto`, `cuda` where there is a CUDA device.

    Raises:
        DeviceError: torch cannot use the device, or no device has that name.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"--device {device}: expected auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"torch {torch.__version__} cannot use the CUDA device (a build without CUDA, or too old a driver); "
            "--devices cpu runs without it (worker, predict: --device cpu)"
        )
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def device_name(device: str) -> str:
    """The name that people read. Of several CUDA devices, it names the one that this process computes on."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    return f"cuda:{visible}"[:MAX_NAME_LENGTH] if device == "cuda" else device


def autocast_dtype(knobs: Hyperparameters, device: torch.device) -> torch.dtype | None:
    """The precision to compute in; None means fp32. `auto` takes bf16 where the device has instructions for it."""
    if knobs.precision == "fp32":
        return None
    if knobs.precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if capable else None


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the error says that memory ran out. Not every allocator raises torch.OutOfMemoryError."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


def prepare_device(device: torch.device) -> None:
    """Give back what the fold before left, and reset the peak of the memory. On CUDA, compute fp32 products in TF32."""
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # a device with a number does not initialise CUDA by itself
        release_memory(device)
        torch.set_float32_matmul_precision("high")
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # without the file, or without the right to write it, the peak is the process's
            _CLEAR_REFS.write_text("5")  # proc(5): resets the peak resident set size


def reserve_memory(sizes: list[int], device: torch.device) -> None:
    """Let torch take pieces of so many bytes of a CUDA device and keep them for what is allocated next.

    They are apart, as the tensors will be: a single large piece could not be given back while anything lies in it.

    Raises:
        torch.OutOfMemoryError: the device has no room for them.
    """
    if device.type == "cuda":
        # Freed at once, which leaves them in torch's cache.
        _ = [torch.empty(size, dtype=torch.uint8, device=device) for size in sizes]


def release_memory(device: torch.device) -> None:
    """Give what torch's cache keeps of a CUDA device back to it, so that larger pieces can be had."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak_memory(device: torch.device) -> int:
    """The peak since `prepare_device`, in bytes; where the system cannot tell it, the peak of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists() and (peak := re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())):
        return int(peak[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def random_state(device: torch.device) -> torch.Tensor:
    """The state of the generator that dropout draws from, as bytes on the CPU."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(device: torch.device, state: torch.Tensor) -> None:
    """Let the generator go on from `state`, which `random_state` gave for a device of the same kind."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
