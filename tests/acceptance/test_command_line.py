"""What the commands promise beside their work: quick starts, and an installation that needs no checkout."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import foldrace as package
from foldrace.studies.loading import SHIPPED
from foldrace.studies.study import Study
from tests.support.commands import SMALL_RUN, Command, Finished

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "neptune", "pandas")
REPORT_IMPORTS = f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"


def imported_by(arguments: list[str], folder: Path) -> list[str]:
    """Which of the heavy packages a command imports."""
    program = [
        "import json, sys",
        f"sys.argv[1:] = {arguments!r}",
        "from foldrace.search.cli.main import main",
        "try: main()",
        "except SystemExit: pass",
        REPORT_IMPORTS,
    ]
    command = [sys.executable, "-c", "\n".join(program)]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(told.stdout.splitlines()[-1])
    return found


def test_help_and_status_import_neither_torch_nor_transformers(finished: Finished) -> None:
    assert imported_by(["--help"], finished.folder) == []
    assert imported_by(["status", "demo"], finished.folder) == []


@pytest.mark.parametrize(
    "command", [["check", "demo"], ["export", "demo", "--output", "again.toml"], ["pause", "demo"]]
)
def test_commands_import_no_pandas(finished: Finished, command: list[str]) -> None:
    """Where scikit-learn is imported, it imports pandas by itself: in a worker, in `final` and in `report`."""
    assert "pandas" not in imported_by(command, finished.folder)


def test_the_version_needs_no_command(foldrace: Command) -> None:
    told = foldrace("--version")

    assert (told.returncode, told.stdout) == (0, f"{version('foldrace')}\n")


def test_check_tells_rows_folds_knobs_and_time(foldrace: Command) -> None:
    told = foldrace("check", "demo", "--folds", "5,100")

    assert told.returncode == 0, told.stderr
    for word in (
        "rows",
        "rows of rare labels repeated in training",
        "too rare to score",
        "searched  dropout",
        "fold-epochs",
        "for one worker",
        "\n100    550",  # folds, fold-epochs
    ):
        assert word in told.stdout
    assert "in the order of their names" not in told.stdout  # the demo says its codes


def described(study: Study, folder: Path) -> str:
    """What `check` says of a study before it takes the time of a few steps."""
    return "\n".join(package.check(study, workspace=folder / "runs").description)


def test_check_tells_of_a_micro_f1_that_leaves_no_class_out(tmp_path: Path) -> None:
    metric = {"search.metric": "micro_f1"}

    without = package.load("demo", {**metric, "data.exclude_labels": ["관계_없음"]})

    assert "micro_f1 is accuracy here" in described(without, tmp_path)
    assert "micro_f1 is accuracy" not in described(package.load("demo", metric), tmp_path)


def test_check_tells_of_a_text_with_two_labels(tmp_path: Path) -> None:
    rows, file = (SHIPPED / "demo/text_train.csv").read_text(encoding="utf-8"), tmp_path / "train.csv"
    text = rows.splitlines()[1].partition(",")[2].rpartition(",")[0]
    file.write_text(f"{rows}more,{text},인물:직함\n", encoding="utf-8")

    lines = described(package.load("demo_text", {"data.train": file}), tmp_path).splitlines()

    first = f"관계_없음 in {file}, line 2, and 인물:직함 in line {rows.count(chr(10)) + 1}"
    assert lines[2] == f"          1 text with more than one label, first {first}"
    assert "more than one label" not in described(package.load("demo_text"), tmp_path)


def test_check_tells_the_label_codes_that_no_file_gives(tmp_path: Path) -> None:
    lines = (SHIPPED / "demo.toml").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("labels"))
    (tmp_path / "mine.toml").write_text(text.replace('"demo/', f'"{SHIPPED}/demo/'), encoding="utf-8")

    assert "codes 0 to 10 in the order of their names" in described(package.load(tmp_path / "mine.toml"), tmp_path)

    codes = json.loads((SHIPPED / "demo/label_type.json").read_text(encoding="utf-8"))
    train = (SHIPPED / "demo/train.tsv").read_text(encoding="utf-8")
    for name, code in codes.items():
        train = train.replace(
            f"\t{name}\n", f"\t{2 * code:02d}\n"
        )  # 00, 02, ...: numbers, but not as codes are written
    (tmp_path / "numbers.tsv").write_text(train, encoding="utf-8")
    no_test = re.sub(r"(?m)^test .*\n", "", (tmp_path / "mine.toml").read_text(encoding="utf-8"))
    (tmp_path / "mine.toml").write_text(no_test, encoding="utf-8")
    numbers = package.load(tmp_path / "mine.toml", {"data.train": tmp_path / "numbers.tsv"})
    assert "codes 0 to 10 in the order" in described(numbers, tmp_path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))


def test_the_wheel_holds_the_rooms_and_the_shipped_studies_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    inside = {"__main__.py", "search/cli/main.py", "studies/demo.toml", "studies/demo/train.tsv"}
    assert {f"foldrace/{name}" for name in inside} <= set(names)
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"foldrace"}


def test_a_wheel_built_from_the_source_distribution_is_the_same(wheel: Path, tmp_path: Path) -> None:
    """In the source distribution the rooms are no links: it may be unpacked where there are none."""
    [packed] = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = tmp_path.glob("foldrace-*/")
    again = Path(next(WheelBuilder(str(source)).build(directory=str(tmp_path), versions=["standard"])))

    assert {path.name for path in source.iterdir() if path.is_dir()} == {"foldrace"}
    assert contents(again) == contents(wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_installed_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    site = next((tmp_path / "venv/lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    program = "import foldrace; from foldrace.search.cli.main import main; print(foldrace.__file__); main()"

    command = [str(tmp_path / "venv/bin/python"), "-c", program, "check", "demo"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert str(site) in told.stdout
    assert "fold-epochs" in told.stdout, told.stderr


def test_modules_of_the_user_that_are_called_like_our_rooms_are_not_imported(tmp_path: Path) -> None:
    for name in ("trainer.py", "search.py", "studies.py", "storage/__init__.py"):
        module = tmp_path / name
        module.parent.mkdir(exist_ok=True)
        module.write_text("raise SystemExit('a module of the user was imported')\n")
    command = [sys.executable, "-m", "foldrace", "run", "demo", "--workers", "1", *SMALL_RUN]

    told = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True, check=False
    )

    assert told.returncode == 0, told.stdout + told.stderr
    assert "1/1 trials" in told.stdout
