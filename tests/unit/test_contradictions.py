"""The very same input with two labels is told, with the places of the first one."""

from pathlib import Path

import pytest

from foldrace.studies.data import Data
from foldrace.trainer.data.contradictions import describe_contradictions
from foldrace.trainer.data.extra import read_data

TEXTS = "text,label\n비가 온다,x\n눈이 온다,x\n비가  온다,y\n비가 온다,x\n해가 떴다,y\n"
PAIRS = "premise,hypothesis,label\n가,나,x\n가,다,y\n나,가,y\n"
RELATIONS = "가와 나와 가\t{}\t{}\t{}\t나\t3\t3\t{}"


def told(tmp_path: Path, *contents: str, **data: object) -> str:
    files = []
    for number, content in enumerate(contents):
        files.append(tmp_path / f"{number}.data")
        files[-1].write_text(content, encoding="utf-8")
    examples, _ = read_data(Data.model_validate({"train": files, **data}))
    return describe_contradictions(examples).replace(f"{tmp_path}/", "")


def relations(*rows: tuple[str, int, str]) -> str:
    return "".join(
        f"{number}\t{RELATIONS.format(entity, start, start, label)}\n"
        for number, (entity, start, label) in enumerate(rows)
    )


def test_a_text_with_two_labels_is_told_with_its_places(tmp_path: Path) -> None:
    assert told(tmp_path, TEXTS) == "1 text with more than one label, first x in 0.data, line 2, and y in line 4"


def test_several_texts_are_counted_over_all_files(tmp_path: Path) -> None:
    first, second = "id,text,label\na,비,x\nb,눈,x\n", "id,text,label\nc,눈,y\nd,비,y\n"

    found = told(tmp_path, first, second)

    assert found == "2 texts with more than one label, first x in 0.data, line 3, and y in 1.data, line 2"


@pytest.mark.parametrize(
    ("rows", "is_one"),
    [
        ([("가", 0, "x"), ("가", 0, "y")], True),
        ([("가", 0, "x"), ("가", 6, "y")], False),
        ([("가", 0, "x"), ("와", 1, "y")], False),
        ([("가", 0, "x"), ("가", 0, "x"), ("와", 1, "y")], False),
    ],
)
def test_relations_are_the_same_only_between_the_same_entities(
    tmp_path: Path, rows: list[tuple[str, int, str]], is_one: bool
) -> None:
    found = told(tmp_path, relations(*rows))

    assert found.startswith("1 sentence with more than one label") == is_one
    assert bool(found) == is_one


def test_pairs_are_the_same_in_both_texts_and_their_order(tmp_path: Path) -> None:
    assert told(tmp_path, PAIRS) == ""
    assert told(tmp_path, PAIRS + "가,나,y\n").startswith("1 pair with more than one label, first x in 0.data, line 2,")


def test_rows_whose_label_is_left_out_contradict_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, TEXTS + "밤,z\n", exclude_labels=["y"]) == ""
