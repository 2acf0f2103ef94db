"""What differs between a CPU and a CUDA device: the optimiser's kernels, the precision, the memory."""

import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch
from transformers import PreTrainedModel

from foldrace.errors import FoldraceError
from foldrace.studies.knobs import Hyperparameters

# Of the CPU; of the CUDA driver; of cuBLAS, which allocates by itself.
_OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
MAX_NAME_LENGTH = 50  # of a device in the table of workers; a UUID has 40, that of a MIG slice may have more
_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")  # Linux alone has them


def make_optimizer(model: PreTrainedModel, knobs: Hyperparameters, device: torch.device) -> torch.optim.Optimizer:
    """AdamW (fused) or SGD with momentum; biases and the weights of norms do not decay."""
    decaying = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": knobs.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if knobs.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=knobs.lr, momentum=knobs.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=knobs.lr, fused=True)


def autocast_dtype(knobs: Hyperparameters, device: torch.device) -> torch.dtype | None:
    """The precision to compute in; None: fp32. `auto` takes bf16 where the device has instructions for it."""
    if knobs.precision == "fp32":
        return None
    if knobs.precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if capable else None


def is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


def prepare_device(device: torch.device) -> None:
    """Before a fold: its peak memory is measured from here, and what stays fp32 on CUDA is computed in TF32."""
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # a device with a number does not do it by itself
        torch.set_float32_matmul_precision("high")
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # not there, or not allowed: then the peak is that of the process
            _CLEAR_REFS.write_text("5")  # proc(5): resets the peak resident set size


def peak_memory(device: torch.device) -> int:
    """Bytes, at most, since `prepare_device`; where the system cannot say that, since the process began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists() and (peak := re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())):
        return int(peak[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class DeviceError(FoldraceError):
    """The device cannot be computed on."""


def resolve_device(device: str) -> str:
    """`cpu` or `cuda`; `auto` is CUDA where there is some. Raises DeviceError for a device that does not work."""
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
    """The device for people: of several CUDA devices, the one that this process computes on."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    return f"cuda:{seen}"[:MAX_NAME_LENGTH] if device == "cuda" else device
