"""A fold in a process of its own, to be killed, or to share a device with another.

    python -m benchmarks.gpu.fold_process FOLDER DEVICE EPOCHS [--small] [--checkpoints FOLDER --first STEP]

It says `ready` at its first event and goes on when it reads a line. With `--checkpoints` it says `saving STEP` and
saves after every step from `--first` on. Its last line is the rows per second of its training.
"""

import argparse
from contextlib import closing
from pathlib import Path

from benchmarks.gpu.demo import demo_task, open_demo
from benchmarks.gpu.setting import Setting
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.tasks import FoldResult, Progress


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("device")
    parser.add_argument("epochs", type=int)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    setting = Setting(arguments.folder, arguments.device, arguments.small)
    task = demo_task(setting, open_demo(setting), epochs=arguments.epochs)
    saves = arguments.checkpoints is not None
    with closing(train_fold(task, progress_seconds=0 if saves else 1e9)) as events:
        for number, event in enumerate(events):
            if number == 0:
                print("ready", flush=True)
                input()
            if isinstance(event, Progress) and saves and event.step >= arguments.first:
                print("saving", event.step, flush=True)
                event.snapshot().save(arguments.checkpoints)
            if isinstance(event, FoldResult):
                print(event.cost.rows_per_second, flush=True)


if __name__ == "__main__":
    main()
