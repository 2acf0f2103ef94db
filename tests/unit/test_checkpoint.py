"""A checkpoint comes back bit by bit, or is recognised as damaged: never as another one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from foldrace.trainer.modeling.devices import peak_memory, prepare_device
from foldrace.trainer.training.checkpoint import (
    CHECKPOINTS_KEPT,
    Checkpoint,
    CheckpointError,
    list_checkpoints,
    load_checkpoint,
)

TASK = "a" * 64


def checkpoint(step: int = 7) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    tensors = {
        "model.weight": torch.randn(5, 3, generator=generator),
        "optimizer.0.step": torch.tensor(7.0),
        "random": torch.arange(200, dtype=torch.uint8),
        "empty": torch.empty(0),
    }
    return Checkpoint(TASK, step, tensors, {"micro_batch": 8, "curve": [{"accuracy": 0.1 + 0.2}]})


def test_a_checkpoint_comes_back_bit_by_bit(tmp_path: Path) -> None:
    kept = checkpoint()

    found = load_checkpoint(kept.save(tmp_path), TASK)

    assert (found.task, found.step, found.state) == (kept.task, kept.step, kept.state)
    assert found.tensors.keys() == kept.tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in kept.tensors.items())


@pytest.mark.parametrize("share", np.linspace(0, 1, 20, endpoint=False))
def test_a_truncated_checkpoint_is_recognised(tmp_path: Path, share: float) -> None:
    path = checkpoint().save(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, TASK)


def test_no_flipped_bit_goes_unseen(tmp_path: Path) -> None:
    kept = checkpoint()
    path = kept.save(tmp_path)
    content = path.read_bytes()
    for offset in range(len(content)):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 1 << offset % 8]) + content[offset + 1 :])

        try:
            found = load_checkpoint(path, TASK)
        except CheckpointError:
            continue
        assert all(torch.equal(found.tensors[name], tensor) for name, tensor in kept.tensors.items()), offset
        assert found.state == kept.state, offset


def test_a_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    path = checkpoint().save(tmp_path)

    with pytest.raises(CheckpointError, match="belongs to another study, fold or trial"):
        load_checkpoint(path, "b" * 64)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-00000001.safetensors"
    path.write_text("{}", encoding="utf-8")

    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, TASK)


def test_the_newest_checkpoints_are_kept_newest_first(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        checkpoint(step).save(tmp_path)

    assert [load_checkpoint(path, TASK).step for path in list_checkpoints(tmp_path)] == [100, 10][:CHECKPOINTS_KEPT]


# As on a full disk: no file may grow beyond 4 KB.
FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from foldrace.trainer.training.checkpoint import Checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    Checkpoint("a" * 64, 8, {"weight": torch.zeros(10000)}, {}).save(Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    before = checkpoint(step=7).save(tmp_path)

    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True)

    assert "DiskError" in done.stdout
    assert "checkpoint-00000008.safetensors: cannot be written: no room left" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [before.name]
    assert load_checkpoint(before, TASK).step == 7


def test_a_checkpoint_is_written_without_a_copy_in_memory(tmp_path: Path) -> None:
    tensors = {f"weight{i}": torch.zeros(2**22) for i in range(8)}  # 128 MiB
    kept = Checkpoint(TASK, 1, tensors, {})
    device = torch.device("cpu")
    prepare_device(device)
    before = peak_memory(device)

    kept.save(tmp_path)

    assert peak_memory(device) - before < 2**26
