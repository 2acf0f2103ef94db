"""What `import foldrace` offers: what the commands do, from Python."""

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import foldrace
from foldrace.studies.loading import SHIPPED
from foldrace.trainer.data.formats import DataError
from tests.support.commands import Finished
from tests.support.notebook import NOTEBOOK
from tests.support.reference import COMMANDS

IMPORT = """
import sys
before = set(sys.modules)
import foldrace
print(*sorted(name for name in set(sys.modules) - before if name.split(".")[0] not in sys.stdlib_module_names))
"""


def test_importing_the_package_imports_nothing_else() -> None:
    told = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)

    assert told.stdout.split() == ["foldrace", "foldrace.errors"]


def test_every_command_is_a_function_and_every_function_is_documented() -> None:
    of_groups = {name for name in COMMANDS if " " in name}  # `database start` is start_database
    assert all({"_".join(words), "_".join(words[::-1])} & set(foldrace.__all__) for words in map(str.split, of_groups))
    assert {"list_runs" if name == "list" else name for name in COMMANDS} - of_groups <= set(foldrace.__all__)
    functions = [getattr(foldrace, name) for name in foldrace.__all__ if name != "FoldraceError"]
    for function in functions:
        assert inspect.getdoc(function), function
        assert "return" in function.__annotations__, function


def test_what_is_not_there_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'foldrace' has no attribute 'predictions'"):
        foldrace.predictions  # noqa: B018


def test_a_run_is_looked_at_from_python(finished: Finished, tmp_path: Path) -> None:
    workspace = finished.folder / "runs"

    status = foldrace.status("demo", workspace=workspace)
    best = foldrace.best("demo", workspace=workspace)
    exported = foldrace.export("demo", output=tmp_path / "final.toml", workspace=workspace)

    assert status.best is not None
    assert (best.number, best.value, best.sampled) == (status.best.number, status.best.value, status.best.knobs)
    assert str(status).splitlines()[0] in finished.run
    assert exported.trial == best
    assert foldrace.load(exported.path).searched == {}
    [listed] = foldrace.list_runs(workspace)
    assert (listed.name, listed.state, listed.best, listed.finals) == ("demo", "done", best.value, 1)


def test_the_trials_are_a_data_frame(finished: Finished) -> None:
    frame = foldrace.trials("demo", workspace=finished.folder / "runs")

    assert list(frame["number"]) == [0, 1, 2]
    assert (
        frame.sort_values("score").iloc[-1]["score"] == foldrace.best("demo", workspace=finished.folder / "runs").value
    )
    assert {"dropout", "epochs"} <= set(frame.columns)
    assert len(foldrace.trials("demo/final-1", workspace=finished.folder / "runs")) == 3


def test_overrides_are_values_by_key(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("a row\n", encoding="utf-8")
    changed = {"training.dropout": 0.2, "training.epochs": {"low": 1, "high": 9}, "data.train": tmp_path / "mine.tsv"}

    study = foldrace.load("demo", changed, name="mine")
    as_texts = ["training.dropout=0.2", "training.epochs={low=1,high=9}", f"data.train={tmp_path}/mine.tsv"]

    assert study == foldrace.load("demo", as_texts, name="mine")
    assert "dropout" not in {*study.searched, *study.search.baseline[0]}
    with pytest.raises(foldrace.FoldraceError, match=r"training.dropout: Input should be a valid number, found 'high'"):
        foldrace.load("demo", {"training.dropout": "high"})


def test_an_ensemble_answers_a_file_a_frame_dictionaries_and_marked_sentences_alike(
    finished: Finished, tmp_path: Path
) -> None:
    job, file = finished.workspace / "final-1", tmp_path / "few.tsv"
    file.write_text(
        "\n".join((SHIPPED / "demo/test.tsv").read_text(encoding="utf-8").split("\n")[:20]), encoding="utf-8"
    )
    columns = ["id", "sentence", "entity1", "start1", "end1", "entity2", "start2", "end2", "label"]
    table = pd.read_csv(file, sep="\t", header=None, names=columns)
    frame = table.drop(columns=["id", "label"]).set_axis(range(100, 120))

    answers = foldrace.predict(job, frame)

    assert list(answers.columns) == ["label", "probability"]
    assert list(answers.index) == list(range(100, 120))
    records = frame.to_dict("records")
    for rows in (file, records, list(map(marked, records))):
        pd.testing.assert_frame_equal(foldrace.predict(job, rows).set_axis(range(100, 120)), answers)


def test_a_sentence_of_unknown_words_is_answered_and_says_so(finished: Finished) -> None:
    answer = foldrace.predict(finished.workspace / "final-1", ["[S]이순신[/S]은 [O]조선[/O]의 장수다."])

    assert len(answer) == 1
    assert answer.attrs["unknown"] > 0.2


def test_a_sentence_without_both_entities_is_refused(finished: Finished) -> None:
    sentences = ["[S]이순신[/S]은 [O]조선[/O]의 장수다.", "[S]이순신[/S]은 조선의 장수다."]

    with pytest.raises(DataError, match=r"rows\[1\], column sentence: expected \[O\]...\[/O\] once"):
        foldrace.predict(finished.workspace / "final-1", sentences)


def marked(row: dict[Hashable, Any]) -> str:
    """The sentence of a row with the columns of P-Stage, with its entities marked."""
    return _marked(row["sentence"], ("S", row["start1"], row["end1"]), ("O", row["start2"], row["end2"]))


def _marked(sentence: str, *spans: tuple[str, int, int]) -> str:
    for name, start, end in sorted(spans, key=lambda span: -span[1]):
        sentence = f"{sentence[:start]}[{name}]{sentence[start : end + 1]}[/{name}]{sentence[end + 1 :]}"
    return sentence


def test_the_notebook_runs(finished: Finished, tmp_path: Path) -> None:
    """Its search and its final job are finished: nothing is left to train."""
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    environment = {name: value for name, value in os.environ.items() if name != "FOLDRACE_STORAGE"}

    told = subprocess.run(
        [sys.executable, "-m", "tests.support.notebook"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(NOTEBOOK.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stdout + told.stderr
    cells = told.stdout.split("\n[")
    assert cells[1].endswith("'done'")
    assert "'epochs': " in cells[2]
    assert [line.split()[:2] for line in cells[3].splitlines()[2:]] == [[str(n), str(n)] for n in range(3)]
    assert cells[4].endswith("'3fold_tiny1.csv'")
    assert cells[5].splitlines()[1].split() == ["label", "probability"]
    assert cells[6].strip() == "7]\n'report.html'"
