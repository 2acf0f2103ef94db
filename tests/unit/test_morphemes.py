"""Texts split into their morphemes: entities, copies and new rows follow."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldrace.studies.data import Data
from foldrace.studies.identity import Identity
from foldrace.studies.study import Study
from foldrace.trainer.data.examples import DataError, Examples, read_test, read_training
from foldrace.trainer.data.extra import read_data
from foldrace.trainer.data.rows import morphemes
from foldrace.trainer.data.rows.morphemes import split_morphemes

RELATIONS = """1\t이순신은 서울대학교병원에서 왔다.\t이순신\t0\t2\t서울대학교병원\t5\t11\t직함
2\t권율은 한성의 장수였다\t한성\t4\t5\t권율\t0\t1\t없음
"""


def read(tmp_path: Path, content: str, **data: Any) -> Examples:
    path = tmp_path / "train.data"
    path.write_text(content, encoding="utf-8")
    return read_training(Data.model_validate({"train": path, "morphemes": "mecab"} | data))


def test_entities_follow_their_morphemes(tmp_path: Path) -> None:
    first, second = read(tmp_path, RELATIONS).rows

    assert first.sentence == "이순신 은 서울대 학교 병원 에서 왔 다 ."
    assert [one.text for one in first.entities] == ["이순신", "서울대 학교 병원"]
    assert [one.text for one in second.entities] == ["한 성", "권율"]
    for example in (first, second):
        assert [example.sentence[one.start : one.end + 1] for one in example.entities] == [
            one.text for one in example.entities
        ]


def test_a_span_that_is_a_little_wrong_is_repaired_before_the_text_is_split(tmp_path: Path) -> None:
    examples = read(tmp_path, RELATIONS.replace("서울대학교병원\t5\t11", "서울대학교병원\t6\t12"))

    assert (examples.repaired, examples.mismatched) == (1, ())
    assert examples.rows[0].entities[1].text == "서울대 학교 병원"


@given(st.text(st.sampled_from("이순신은조선 \t\n\u3000 가았😀a1.,'\u200b"), min_size=1, max_size=30))
def test_a_split_text_has_further_spaces_and_no_other_change(text: str) -> None:
    split = split_morphemes(text)

    assert len(split.text) == len(text) + len(split.starts)
    assert [split.text[split.place(place)] for place in range(len(text))] == list(text)


def test_both_texts_of_a_pair_and_the_test_rows_are_split(tmp_path: Path) -> None:
    rows = "premise,hypothesis,label\n비가 온다,하늘이 맑다,a\n눈이 온다,땅이 희다,b\n"
    data = Data.model_validate({"train": tmp_path / "train.data", "morphemes": "mecab"})
    training = read(tmp_path, rows)

    new = read_test([("비가 온다", "하늘이 맑다")], training.labels, data, "pair").rows[0]

    assert (new.sentence, new.pair) == ("비 가 온다", "하늘 이 맑 다")
    assert (training.rows[0].sentence, training.rows[0].pair) == (new.sentence, new.pair)


def test_a_copy_among_extra_rows_is_found(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n비가 온다,a\n눈이 온다,b\n", encoding="utf-8")
    (tmp_path / "extra.csv").write_text("text,label\n눈이 온다,b\n", encoding="utf-8")
    files = {"train": tmp_path / "train.csv", "extra": tmp_path / "extra.csv"}

    with pytest.raises(DataError, match=r"extra\.csv, line 2, column text: a copy of the training row 1"):
        read_data(Data.model_validate(files | {"morphemes": "mecab"}))


def test_morphemes_are_part_of_the_study(tmp_path: Path) -> None:
    (tmp_path / "train.data").write_text(RELATIONS, encoding="utf-8")
    one, other = (
        Identity.of(Study.model_validate({"name": "s", "data": {"train": tmp_path / "train.data", **data}}))
        for data in ({}, {"morphemes": "mecab"})
    )

    assert other.changes_since(one) == ['data.morphemes is "mecab", was null']
    assert "data.morphemes" not in one.to_json()


def test_without_mecab_one_line_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mecab", None)
    morphemes._tagger.cache_clear()

    with pytest.raises(DataError, match=r"^data\.morphemes = \"mecab\": mecab is not installed: pip install 'foldrace"):
        read(tmp_path, RELATIONS)
