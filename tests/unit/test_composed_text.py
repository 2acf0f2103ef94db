"""Text whose characters are taken apart (NFD) is read as the same text composed (NFC)."""

import csv
import io
import json
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import pytest

from foldrace.studies.data import Data
from foldrace.trainer.data.examples import DataError, Examples, read_training

SENTENCE, SUBJECT, OBJECT = "최민호은 2017년 바다연구소에서 일한다.", "최민호", "바다연구소"
Form = Literal["NFC", "NFD"]
LABELS = {"소속": 0, "관계_없음": 1}


def nfd(text: str) -> str:
    return normalize("NFD", text)


def span(sentence: str, text: str) -> tuple[int, int]:
    start = sentence.index(text)
    return start, start + len(text) - 1


def read(tmp_path: Path, form: Form, kind: str, moves_spans: bool = True, excluded: tuple[str, ...] = ()) -> Examples:
    """The rows of a file in normal form `form`, whose spans are those of that form or of the composed text."""
    sentence, *texts = (normalize(form, text) for text in (SENTENCE, SUBJECT, OBJECT))
    spans = [span(sentence, text) for text in texts] if moves_spans else [span(SENTENCE, t) for t in (SUBJECT, OBJECT)]
    labels = {normalize(form, name): code for name, code in LABELS.items()}
    (tmp_path / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    rows: list[dict[str, Any]] = []
    for number, label in enumerate(labels):
        entities = [
            {"word": text, "start_idx": start, "end_idx": end, "type": normalize(form, "각")}
            for text, (start, end) in zip(texts, spans, strict=True)
        ]
        named = dict(zip(("subject_entity", "object_entity"), entities, strict=True))
        rows.append({"id": str(number), "sentence": sentence, **named, "label": label})
    path = tmp_path / f"train.{kind}"
    path.write_text(_text(rows, kind), encoding="utf-8")
    return read_training(Data(train=path, labels=tmp_path / "labels.json", exclude_labels=excluded))


def _text(rows: list[dict[str, Any]], kind: str) -> str:
    if kind == "json":
        return json.dumps(rows, ensure_ascii=False)
    written = io.StringIO()
    if kind == "csv":
        table = csv.DictWriter(written, rows[0])
        table.writeheader()
        table.writerows(rows)
        return written.getvalue()
    for row in rows:
        columns = [c for e in ("subject_entity", "object_entity") for c in list(row[e].values())[:3]]
        written.write("\t".join(map(str, (row["id"], row["sentence"], *columns, row["label"]))) + "\n")
    return written.getvalue()


@pytest.mark.parametrize("kind", ["csv", "json", "tsv"])
@pytest.mark.parametrize("moves_spans", [True, False], ids=["spans-of-nfd", "spans-of-nfc"])
def test_rows_that_are_taken_apart_are_those_of_the_composed_file(kind: str, moves_spans: bool, tmp_path: Path) -> None:
    composed = read(tmp_path, "NFC", kind)

    assert read(tmp_path, "NFD", kind, moves_spans) == composed
    assert composed.rows[0].subject is not None
    assert composed.rows[0].subject.text == SUBJECT
    assert (composed.repaired, composed.mismatched) == (0, ())


def test_an_excluded_label_is_found_in_either_form(tmp_path: Path) -> None:
    excluded = (nfd("관계_없음"),)

    assert read(tmp_path, "NFC", "csv", excluded=excluded).labels.names == ("소속",)
    assert read(tmp_path, "NFD", "csv", excluded=excluded).labels.names == ("소속",)


def test_a_span_outside_of_a_sentence_that_is_taken_apart_is_refused(tmp_path: Path) -> None:
    entity = {"word": nfd("갑"), "start_idx": 90, "end_idx": 92, "type": "PER"}
    row = {
        "id": "0",
        "sentence": nfd("갑은 을을 안다"),
        "subject_entity": entity,
        "object_entity": entity,
        "label": "x",
    }
    (tmp_path / "train.json").write_text(json.dumps([row]), encoding="utf-8")

    with pytest.raises(DataError, match=r"start_idx: 90 lies outside the sentence"):
        read_training(Data(train=tmp_path / "train.json"))
