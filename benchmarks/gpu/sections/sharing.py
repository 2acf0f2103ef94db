"""Two workers on one device: what they do together beside one alone, and a small search through the real command."""

import json
import subprocess
import sys
import time
from importlib.util import find_spec

from benchmarks.gpu.demo import model_folder, open_demo
from benchmarks.gpu.report import Report
from benchmarks.gpu.runner import ROOT
from benchmarks.gpu.setting import Setting

OF_THE_COMMAND = ("typer", "rich", "optuna", "optuna_dashboard", "sqlalchemy", "plotly", "tomli_w", "filelock")


def run(setting: Setting, report: Report) -> None:
    open_demo(setting)  # the files that every process reads
    alone = _rates(setting, 1)[0]
    together = _rates(setting, 2)
    report.figure("one fold alone", f"{alone:.0f} rows/s")
    report.figure(
        "two folds on one device",
        f"{together[0]:.0f} and {together[1]:.0f} rows/s: {sum(together) / alone:.2f} times one",
    )
    missing = [package for package in OF_THE_COMMAND if find_spec(package) is None]
    if missing:
        report.unchecked("a search through the command", f"{', '.join(missing)} missing")
    else:
        _search(setting, report)


def _rates(setting: Setting, count: int) -> list[float]:
    """Rows per second of folds in processes that begin to train together."""
    command = [sys.executable, "-m", "benchmarks.gpu.fold_process", str(setting.folder), setting.device]
    command += [str(setting.choose(10, 2)), *["--small"] * setting.small]
    processes = [
        subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        for process in processes:
            _wait_until_ready(process)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return [float(process.communicate()[0].splitlines()[-1]) for process in processes]
    finally:
        for process in processes:
            process.kill()


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line == "ready\n":
            return
    raise RuntimeError(f"a fold's process ended with status {process.wait()} before it was ready")


def _search(setting: Setting, report: Report) -> None:
    """`foldrace run` with two workers; each trial has two folds."""
    workspace, trials = setting.folder / "runs", setting.choose(4, 2)
    settings = {
        "model.name": str(model_folder(setting)),
        "training.lr": setting.learning_rate,
        "training.epochs": setting.choose(2, 1),
        "training.evaluations": setting.choose(8, 1),
        "folds.count": 2,
    }
    command = [sys.executable, "-m", "foldrace", "run", "demo", "--as", "check", "--trials", str(trials)]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command += ["--workspace", str(workspace)]
    command += ["--devices", "0", "--per-device", "2"] if setting.is_cuda else ["--devices", "cpu", "--workers", "2"]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    print(done.stdout, done.stderr, flush=True)
    ran = done.returncode == 0 and "crash" not in done.stdout
    report.check(ran, f"foldrace run with two workers ended with status {done.returncode}, and no worker crashed")
    for log in sorted((workspace / "check" / "logs").glob("worker-*.log")):
        text = log.read_text(encoding="utf-8")
        print(log.name, text, sep="\n", flush=True)
        report.figure(log.name, f"claimed {text.count(', attempt ')} trials")
    if ran:
        _show_status(report, str(workspace), seconds, trials)


def _show_status(report: Report, workspace: str, seconds: float, asked: int) -> None:
    command = [sys.executable, "-m", "foldrace", "status", "check", "--json", "--workspace", workspace]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    status = json.loads(done.stdout)
    trials = status["trials"]
    ended = trials.get("COMPLETE", 0) + trials.get("PRUNED", 0)
    report.check(ended == asked, f"{ended} of {asked} trials ended in {seconds:.0f} s: {trials}")
