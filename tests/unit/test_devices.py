"""Slots: which devices are meant, what a worker may see of them, and how the cores are shared out."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foldrace.search.workers import slots as devices
from foldrace.search.workers.slots import Slot, SlotError, cgroup_quota, count_cuda_devices, slots
from foldrace.trainer.modeling.devices import MAX_NAME_LENGTH, device_name


@pytest.fixture
def four_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "count_cuda_devices", lambda: 4)
    monkeypatch.setattr(devices, "cores", lambda: 16)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)


@pytest.fixture
def no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "count_cuda_devices", lambda: 0)
    monkeypatch.setattr(devices, "cores", lambda: 7)


def _places(found: tuple[Slot, ...]) -> list[str]:
    return [slot.device for slot in found]


@pytest.mark.usefixtures("four_devices")
def test_auto_takes_every_cuda_device_and_shares_the_cores_out() -> None:
    found = slots()

    assert found == tuple(Slot(index, f"cuda:{index}", threads=4) for index in range(4))


@pytest.mark.usefixtures("four_devices")
def test_every_device_gets_its_first_worker_before_any_gets_a_second() -> None:
    assert _places(slots("0,3", per_device=2)) == ["cuda:0", "cuda:3", "cuda:0", "cuda:3"]
    assert _places(slots("0,3", workers=3, per_device=2)) == ["cuda:0", "cuda:3", "cuda:0"]


@pytest.mark.usefixtures("four_devices")
def test_cpu_is_taken_when_asked_for_although_there_are_devices() -> None:
    assert _places(slots("cpu")) == ["cpu", "cpu"]


@pytest.mark.usefixtures("no_device")
def test_auto_falls_back_to_as_many_cpu_workers_as_asked_with_equal_threads() -> None:
    assert slots() == (Slot(0, "cpu", threads=3), Slot(1, "cpu", threads=3))
    assert slots(workers=3) == tuple(Slot(index, "cpu", threads=2) for index in range(3))
    assert {slot.threads for slot in slots(workers=9)} == {1}


@pytest.mark.usefixtures("four_devices")
@pytest.mark.parametrize("text", ["", "0,,1", "gpu", "-1", "0;1", "cuda:0", "1.5", "²"])
def test_malformed_devices_are_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(SlotError, match=r"^--devices '.*': expected auto, cpu, or CUDA indices such as 0,1,3$"):
        slots(text)


@pytest.mark.usefixtures("four_devices")
def test_a_device_that_is_not_there_or_listed_twice_is_refused() -> None:
    with pytest.raises(SlotError, match="no CUDA device 4; found: 0 to 3"):
        slots("1,4")
    with pytest.raises(SlotError, match="1 is listed twice"):
        slots("1,0,1")


@pytest.mark.usefixtures("no_device")
def test_a_cuda_index_without_cuda_is_refused() -> None:
    with pytest.raises(SlotError, match="no CUDA device 0; found: none"):
        slots("0")


@pytest.mark.usefixtures("no_device")
def test_counts_that_no_machine_has_are_refused() -> None:
    for count in (1001, 10**9):
        with pytest.raises(SlotError, match=f"--workers {count}: expected 1 to 1000"):
            slots(workers=count)
        with pytest.raises(SlotError, match=f"--per-device {count}: expected 1 to 1000"):
            slots(per_device=count)
    with pytest.raises(SlotError, match="expected auto, cpu, or CUDA indices"):
        slots("9" * 5000)


@pytest.mark.usefixtures("no_device")
def test_counts_below_one_are_refused() -> None:
    with pytest.raises(SlotError, match="--workers 0: expected 1 to 1000"):
        slots(workers=0)
    with pytest.raises(SlotError, match="--per-device -1: expected 1 to 1000"):
        slots(per_device=-1)


def test_cpu_worker_sees_no_device_and_keeps_to_its_threads() -> None:
    assert Slot(0, "cpu", threads=3).environment() == {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "3",
        "OMP_WAIT_POLICY": "PASSIVE",
        "MKL_NUM_THREADS": "3",
        "TOKENIZERS_PARALLELISM": "false",
    }


@pytest.mark.usefixtures("four_devices")
def test_cuda_worker_sees_only_its_device_numbered_as_nvidia_smi_does() -> None:
    environment = Slot(1, "cuda:3", threads=4).environment()

    assert environment["CUDA_VISIBLE_DEVICES"] == "3"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize(("outer", "inner"), [("5,2", "2"), ("GPU-aa, GPU-bb", "GPU-bb")])
def test_cuda_worker_stays_within_the_devices_that_the_supervisor_sees(
    monkeypatch: pytest.MonkeyPatch, outer: str, inner: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)

    environment = Slot(0, "cuda:1", threads=1).environment()

    assert environment["CUDA_VISIBLE_DEVICES"] == inner
    assert "CUDA_DEVICE_ORDER" not in environment


def test_cores_are_those_that_the_process_may_run_on() -> None:
    cores = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(slots.cores())"
    cores = f"import os; from foldrace.search.workers import slots; {cores}"

    printed = subprocess.run([sys.executable, "-c", cores], capture_output=True, text=True, check=True).stdout

    assert printed == "1\n"


def test_a_quota_below_the_affinity_is_what_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    for quota, cores in ((3.9, 3), (0.5, 1), (math.inf, 64)):
        monkeypatch.setattr(devices, "cgroup_quota", lambda quota=quota: quota)
        assert devices.cores() == cores


def test_the_tightest_quota_of_nested_cgroups_counts(tmp_path: Path) -> None:
    for folder, content in (("", "max 100000"), ("pod", "150000 100000"), ("pod/box", "800000 100000")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "cpu.max").write_text(content)
    membership = tmp_path / "membership"
    membership.write_text("0::/pod/box\n")

    assert cgroup_quota(membership, tmp_path) == 1.5


@pytest.mark.parametrize(("quota", "cores"), [("250000", 2.5), ("-1", math.inf)])
def test_a_version_1_quota_is_found_where_the_listed_folder_is_not_mounted(
    tmp_path: Path, quota: str, cores: float
) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    membership = tmp_path / "membership"
    membership.write_text("4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n")

    assert cgroup_quota(membership, tmp_path) == cores


def test_without_cgroups_there_is_no_quota(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path / "missing", tmp_path) == math.inf


def test_neither_devices_nor_supervisor_import_torch() -> None:
    code = "import sys; from foldrace.search.workers import slots, supervisor; slots.slots()"
    code = f"{code}; print('torch' in sys.modules)"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed == "False\n"


@pytest.mark.cuda
def test_the_driver_counts_what_torch_counts_and_a_worker_sees_one_of_them() -> None:
    import torch

    assert count_cuda_devices() == torch.cuda.device_count() > 0
    worker = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    environment = {**os.environ, **slots()[-1].environment()}
    assert subprocess.run(worker, env=environment, capture_output=True, text=True, check=True).stdout == "1\n"


def test_a_worker_is_named_by_the_one_device_that_it_computes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"GPU-{'1' * 36},GPU-{'2' * 36}")
    assert device_name("cuda") == f"cuda:GPU-{'1' * 36}"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"MIG-GPU-{'1' * 36}/1/0")
    assert len(device_name("cuda")) == MAX_NAME_LENGTH
    assert device_name("cpu") == "cpu"
