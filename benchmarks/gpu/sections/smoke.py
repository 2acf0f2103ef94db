"""The tests that need a CUDA device, as pytest runs them; without it, or what the tests import, one after the other."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import torch

from benchmarks.gpu.report import Report
from benchmarks.gpu.runner import ROOT
from benchmarks.gpu.setting import Setting
from tests.support import cuda

TESTS = "tests/integration/test_cuda.py"
OF_THE_TESTS = ("pytest", "pytest_timeout", "optuna", "sqlalchemy")  # what their configuration imports
LAST_LINES = 25


def run(setting: Setting, report: Report) -> None:
    if not setting.is_cuda:
        report.unchecked("the CUDA tests", "there is no CUDA device; one of their folds is trained on the CPU")
        cuda.check_a_fold_trains_and_resumes("cpu")
        report.check(True, "a fold trains and resumes on the CPU")
        return
    missing = [package for package in OF_THE_TESTS if find_spec(package) is None]
    if missing:
        report.unchecked(f"pytest {TESTS}", f"{', '.join(missing)} missing; the same checks without it")
        for name, check in _checks():
            _run(report, name, check)
    else:
        _run_pytest(report)


def _run_pytest(report: Report) -> None:
    # Warnings are errors in our configuration; of versions that we did not choose they are none of our business.
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-vv", "-W", "default", "-p", "no:cacheprovider", TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, flush=True)
    for line in done.stdout.splitlines():
        if "PASSED" in line and "::" in line:
            report.check(True, line.split("::", 1)[1].partition(" ")[0])
    if done.returncode != 0:
        report.fail(f"pytest {TESTS} ended with status {done.returncode}")
        report.code("\n".join(done.stdout.splitlines()[-LAST_LINES:]))


def _checks() -> Iterator[tuple[str, Callable[[], None]]]:
    for knobs in cuda.FOLDS:
        yield f"a fold trains and resumes {knobs}", partial(cuda.check_a_fold_trains_and_resumes, **knobs)
    for knobs in cuda.REPLAYED:
        check = partial(cuda.check_replayed_steps_are_those_that_python_launches, **knobs)
        yield f"replayed steps are those that Python launches {knobs}", check
    yield "a step waits for nothing", cuda.check_a_step_waits_for_nothing
    for dtype in (None, torch.bfloat16):
        name = f"probabilities are those of the CPU, {dtype or 'fp32'}"
        yield name, partial(cuda.check_probabilities_are_those_of_the_cpu, dtype)


def _run(report: Report, name: str, check: Callable[[], None]) -> None:
    try:
        check()
    except Exception as error:  # whatever it is, the other checks go on
        report.fail(f"{name}: {type(error).__name__}: {error}")
    else:
        report.check(True, name)
