"""Out of memory on purpose: a tensor occupies the device, and the fold says what it should of what is left."""

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

import torch

from benchmarks.gpu.demo import demo_task, finish, open_demo
from benchmarks.gpu.report import Report, in_gigabytes
from benchmarks.gpu.setting import Setting
from foldrace.trainer.training.loop import start_fold, train_fold
from foldrace.trainer.training.tasks import FoldResult, FoldTask, NoRoomError, OutOfMemoryError, Progress

BATCH = 256  # rows
SAME_LOSS = 0.02  # of the first evaluation, relative: halved, a batch is summed in another order
ROUNDING = 64 * 2**20  # bytes that the allocator may round up or leave between two blocks
BLOCKS = tuple(4**power * 2**10 for power in range(11, -1, -1))  # bytes: 4 GB first, then what fits between


def run(setting: Setting, report: Report) -> None:
    if not setting.is_cuda:
        report.unchecked("out of memory", "there is no CUDA device to fill")
        return
    task = demo_task(setting, open_demo(setting), epochs=1, batch_size=BATCH, evaluations=1, dropout=0.0)
    whole = finish(task)
    torch.cuda.empty_cache()
    report.figure("what torch cannot give back after a fold", _gb(torch.cuda.memory_reserved()))
    single = _peak_of_one_row(task)
    weights = sum(tensor.nbytes for tensor in whole.weights.values())
    report.figure("the weights", in_gigabytes(weights))
    report.figure(f"peak of a fold with {BATCH} rows, and with 1", f"{_gb(whole.cost.peak_memory)}, {_gb(single)}")
    _expect(report, "no room for the model", weights // 2, NoRoomError, lambda: _first(task))
    _expect(report, "no room for its gradients", weights + ROUNDING, NoRoomError, lambda: _first(task))
    _expect(report, "no room for its optimiser", 5 * weights // 2, NoRoomError, lambda: _first(task))
    _halve(report, task, single + (whole.cost.peak_memory - single) * 2 // 5, whole)
    placed = start_fold(task)
    _expect(report, "no room for one row of a fold in its place", 0, OutOfMemoryError, placed.train_step)
    del placed
    with _left(2 * whole.cost.peak_memory):
        report.check(_first(task).micro_batch == BATCH, "with room again, a fold takes its whole batch")


def _gb(size: float) -> str:
    return in_gigabytes(size)


def _first(task: FoldTask) -> Progress:
    """The first sign of life, after one step."""
    with closing(train_fold(task, progress_seconds=0)) as events:
        return next(event for event in events if isinstance(event, Progress))


def _peak_of_one_row(task: FoldTask) -> int:
    """With the best weights kept, as after an evaluation."""
    knobs = task.knobs.model_copy(update={"batch_size": 1})
    short = replace(task, knobs=knobs, training=task.training[:2], validation=task.validation[:8])
    return finish(short).cost.peak_memory


def _halve(report: Report, task: FoldTask, left: int, whole: FoldResult) -> None:
    with _left(left):
        result = finish(task)
    halved = result.cost.micro_batch
    losses = result.curve[0].train_loss, whole.curve[0].train_loss
    report.check(halved < BATCH, f"with {_gb(left)} left, {halved} rows of {BATCH} go through the model at once")
    report.check(
        math.isclose(*losses, rel_tol=SAME_LOSS),
        f"halved or whole, the training loss is alike: {losses[0]:.4f} and {losses[1]:.4f}",
    )


def _expect(report: Report, name: str, left: int, expected: type[Exception], work: Callable[[], object]) -> None:
    """That `work` raises, with so many bytes left on the device, and one line that says why."""
    said = "nothing was raised"
    holds = False
    with _left(left):
        try:
            work()
        except Exception as error:
            holds = isinstance(error, expected)
            said = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    report.check(holds, f"{name} ({_gb(left)} left) is {expected.__name__}: {said}")


@contextmanager
def _left(size: int) -> Iterator[None]:
    """Occupy the device but for `size` bytes, what torch keeps in its cache included."""
    gc.collect()
    torch.cuda.empty_cache()
    room = _allocate(size)
    occupied = [block for length in BLOCKS for block in iter(partial(_try_to_allocate, length), None)]
    del room
    torch.cuda.empty_cache()
    try:
        yield
    finally:
        occupied.clear()
        gc.collect()
        torch.cuda.empty_cache()


def _allocate(size: int) -> torch.Tensor:
    return torch.empty(size, dtype=torch.uint8, device="cuda")


def _try_to_allocate(size: int) -> torch.Tensor | None:
    try:
        return _allocate(size)
    except torch.OutOfMemoryError:
        return None
