"""The check of a GPU in its small form, on the CPU: it comes to its end and says what it found."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu.page import render
from benchmarks.gpu.report import Finding, Report, read_findings
from benchmarks.gpu.runner import ROOT, Outcome, Section, run_sections

WITHOUT = (
    "import sys\nsys.modules[{name!r}] = None  # an import of it fails, here and in every process begun from here\n"
)


def check_gpu(output: Path, sections: str, python_path: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.check_gpu", "--device", "cpu", "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": python_path}
    command += ["--sections", sections]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.timeout(600)  # a dozen processes that import torch
@pytest.mark.parametrize("sections", ["machine,smoke,fold,resume,memory,steps", "comparison,sharing"])
def test_every_section_passes_on_the_cpu(tmp_path: Path, sections: str) -> None:
    page = tmp_path / "page.md"

    done = check_gpu(page, sections)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "| failed |" not in page.read_text(encoding="utf-8")


def test_a_missing_package_is_named_and_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(name="pydantic"), encoding="utf-8")
    page = tmp_path / "page.md"

    done = check_gpu(page, "machine,fold", str(tmp_path))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "| A fold in bf16 and in fp32 | not checked |" in page.read_text(encoding="utf-8")
    assert "the package pydantic is missing" in page.read_text(encoding="utf-8")


def test_a_section_that_is_unknown_is_refused(tmp_path: Path) -> None:
    done = check_gpu(tmp_path / "page.md", "machine,folds")

    assert done.returncode == 2
    assert "folds" in done.stderr


def test_a_section_that_fails_leaves_the_others_to_run(tmp_path: Path) -> None:
    sections = (Section("not_there", "Not there", 60), Section("late", "Late", 0))

    failed, late = run_sections(sections, tmp_path, "cpu", False, time.monotonic() + 60)

    assert failed.state == late.state == "failed"
    assert failed.findings[0].text.startswith("ModuleNotFoundError")
    assert late.reason.startswith("not begun")


def test_what_was_found_before_a_kill_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "findings.jsonl"
    report = Report(path)
    report.figure("speed", "3 rows/s")
    report.check(False, "it is fast")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"kind": "hol')

    findings = read_findings(path)

    assert findings == (Finding("figure", "speed: 3 rows/s"), Finding("fails", "it is fast"))
    page = render(
        "check_gpu", "cuda", [], [Outcome(Section("fold", "A fold", 9), "killed after its 9 s", 9.0, findings)]
    )
    assert "| A fold | failed | 9 | killed after its 9 s; it is fast |" in page
