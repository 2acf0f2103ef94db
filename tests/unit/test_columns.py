"""Texts and pairs of texts, in whatever format and under whatever names people have them."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from foldrace.studies.data import Data, Task
from foldrace.trainer.data.examples import DataError, Examples, read_test, read_training

TEXTS = [
    {"index": "7", "title": "주가가 올랐다", "topic_idx": "1"},
    {"index": "8", "title": "비가 온다", "topic_idx": "0"},
    {"index": "9", "title": "경기에서 이겼다", "topic_idx": "2"},
]
PAIRS = [
    {"guid": "a", "premise": "비가 온다", "hypothesis": "하늘이 맑다", "gold_label": "contradiction"},
    {"guid": "b", "premise": "비가 온다", "hypothesis": "땅이 젖는다", "gold_label": "entailment"},
]
Rows = Sequence[Mapping[str, str]]


def table(rows: Rows, delimiter: str = ",") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def parquet(rows: Rows) -> bytes:
    import pandas as pd

    file = io.BytesIO()
    pd.DataFrame(rows).to_parquet(file)
    return file.getvalue()


def lines(rows: Sequence[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def training(tmp_path: Path, content: str | bytes, **data: object) -> Examples:
    path = tmp_path / "train.data"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_training(Data.model_validate({"train": path, **data}))


def shown(examples: Examples) -> list[tuple[object, ...]]:
    names = examples.labels.names
    return [(row.id, row.sentence, row.pair, names[row.label or 0]) for row in examples.rows]


FORMATS: dict[str, Callable[[Rows], str | bytes]] = {
    "CSV": table,
    "TSV": lambda rows: table(rows, "\t"),
    "JSON": json.dumps,
    "JSON lines": lines,
    "Parquet": parquet,
    "UTF-16": lambda rows: table(rows, "\t").encode("utf-16"),
    "CP949": lambda rows: table(rows).encode("cp949"),
}


@pytest.mark.parametrize("form", FORMATS)
def test_texts_and_pairs_are_read_from_every_format(tmp_path: Path, form: str) -> None:
    texts, pairs = (training(tmp_path, FORMATS[form](rows)) for rows in (TEXTS, PAIRS))

    assert (texts.task, pairs.task) == ("text", "pair")
    assert shown(texts) == [(row["index"], row["title"], None, row["topic_idx"]) for row in TEXTS]
    assert shown(pairs) == [(row["guid"], row["premise"], row["hypothesis"], row["gold_label"]) for row in PAIRS]


def test_a_study_names_columns_and_the_task(tmp_path: Path) -> None:
    rows = [{"번호": row["index"], "본문": row["title"], "분류": row["topic_idx"], "label": "x"} for row in TEXTS]
    columns = {"id": "번호", "text": "본문", "label": "분류"}

    named = training(tmp_path, table(rows), columns=columns)
    first_of_pairs = training(tmp_path, table(PAIRS), task="text")

    assert shown(named) == [(row["index"], row["title"], None, row["topic_idx"]) for row in TEXTS]
    assert [row.pair for row in first_of_pairs.rows] == [None, None]


def test_rows_without_an_id_are_counted_from_zero(tmp_path: Path) -> None:
    found = training(tmp_path, table([{"document": row["title"], "label": row["topic_idx"]} for row in TEXTS]))

    assert [row.id for row in found.rows] == ["0", "1", "2"]


def test_a_test_file_needs_neither_label_nor_group_nor_fold(tmp_path: Path) -> None:
    rows = [row | {"user": "u", "kfold": "0"} for row in TEXTS]
    columns = {"group": "user", "fold": "kfold", "label": "topic_idx"}
    trained = training(tmp_path, table(rows), columns=columns)
    test = tmp_path / "test.csv"
    test.write_text(table([{"index": "1", "title": "눈이 온다"}]), encoding="utf-8")

    data = Data.model_validate({"train": test, "columns": columns})
    found = read_test(test, trained.labels, data, trained.task)

    assert [(row.group, row.fold) for row in trained.rows] == [("u", "0")] * 3
    assert [(row.id, row.sentence, row.label) for row in found.rows] == [("1", "눈이 온다", None)]


def test_rows_in_memory_are_texts_or_pairs(tmp_path: Path) -> None:
    labels = training(tmp_path, table(PAIRS)).labels
    data = Data(train=tmp_path)

    texts = read_test(["비가 온다", {"document": "눈이 온다"}], labels, data, "text")
    pairs = read_test([("비가 온다", "맑다"), {"premise": "비가", "hypothesis": "온다"}], labels, data, "pair")

    assert [(row.id, row.sentence) for row in texts.rows] == [("0", "비가 온다"), ("1", "눈이 온다")]
    assert [(row.sentence, row.pair) for row in pairs.rows] == [("비가 온다", "맑다"), ("비가", "온다")]
    with pytest.raises(DataError, match=r"rows\[0\], column text: expected a pair of texts, or values by column"):
        read_test(["비가 온다"], labels, data, "pair")


@pytest.mark.parametrize(
    ("task", "row", "columns", "pair"),
    [
        ("text", "비가 온다", {"text": "문의내용", "id": "번호", "label": "분류"}, None),
        ("pair", ("비가 온다", "맑다"), {"text": "앞", "pair": "뒤"}, "맑다"),
        ("relation", "[S]비[/S]가 [O]온다[/O]", {"text": "본문"}, None),
    ],
)
def test_plain_texts_in_memory_need_no_columns_that_the_study_names(
    tmp_path: Path, task: Task, row: str | tuple[str, str], columns: Mapping[str, str], pair: str | None
) -> None:
    data = Data.model_validate({"train": tmp_path, "columns": columns})

    [found] = read_test([row], training(tmp_path, table(TEXTS)).labels, data, task).rows

    assert (found.id, found.sentence, found.pair) == ("0", "비가 온다", pair)


RELATION = {"sentence": "비가 온다", "subject_entity": "{}", "object_entity": "{}"}


@pytest.mark.parametrize(
    ("rows", "column", "what"),
    [(PAIRS, "hypothesis", "the second text of a pair"), ([RELATION], "subject_entity", "an entity")],
)
def test_rows_of_another_task_than_the_training_texts_are_refused(
    tmp_path: Path, rows: Rows, column: str, what: str
) -> None:
    labels, data = training(tmp_path, table(TEXTS)).labels, Data(train=tmp_path)
    test = tmp_path / "test.csv"
    test.write_text(table(rows), encoding="utf-8")

    alone = "leave the column out, or --set data.task=text takes the text alone"
    told = rf"test.csv, line 1, column {column}: {what}, and the training rows are single texts; {alone}"
    with pytest.raises(DataError, match=told):
        read_test(test, labels, data, "text")
    with pytest.raises(DataError, match=rf"rows\[0\], column {column}: {what}"):
        read_test(rows, labels, data, "text")
    asked = data.model_copy(update={"task": "text"})
    assert [row.pair for row in read_test(test, labels, asked, "text").rows] == [None] * len(rows)


def test_labels_of_a_test_file_that_are_none_of_the_training_rows_are_counted_and_named(tmp_path: Path) -> None:
    labels, test = training(tmp_path, table(TEXTS)).labels, tmp_path / "test.csv"
    test.write_text("text,label\n가,1\n나,blind\n다,없음\n라,3\n", encoding="utf-8")

    found = read_test(test, labels, Data(train=tmp_path), "text")

    assert (found.outside, found.first_outside) == (2, f"'없음' in {test}, line 4")


MALFORMED = [
    (
        "no text",
        table([{"id": "1", "내용": "가", "label": "x"}]),
        {},
        "line 1, column text: missing from the header; there: id, 내용, label; call it text, or give data.columns"
        ' = { text = "..." }; of a relation: ',
    ),
    (
        "no column that is known",
        table([{"앞": "가", "뒤": "나", "분류": "x"}]),
        {"task": "pair"},
        "column text: missing from the header, as are pair and label; there: 앞, 뒤, 분류; call them text, "
        'pair, label, or give data.columns = { text = "...", pair = "...", label = "..." }',
    ),
    ("another separator", "text;label\n가;x\n", {}, "; is the separator a comma or a tab?"),
    ("no header", "1,영화가 재미있다,긍정\n2,나쁘다,부정\n", {}, "; has the file a header?"),
    ("a text as header", f"{'길' * 41},긍정\n나쁘다,부정\n", {}, "; has the file a header?"),
    ("a column named that is not there", table(TEXTS), {"columns": {"text": "본문"}}, "data.columns.text names it"),
    ("no label", table([{"text": "가"}]), {}, "expected a label, found none in any row"),
    ("a label with a fraction", table([{"text": "가", "label": "3.7"}]), {}, "3.7 is a number with a fraction"),
    ("an empty text", table([{"text": " ", "label": "x"}]), {}, "line 2, column text: empty"),
    ("an empty second text", lines([{"premise": "가", "hypothesis": "", "label": "x"}]), {}, "column pair: empty"),
    ("a number as text", lines([{"text": 7, "label": "x"}]), {}, "column text: expected text, found 7"),
    (
        "one without the pair",
        lines([PAIRS[0], {"premise": "가", "label": "x"}]),
        {},
        "line 2, column pair: missing",
    ),
    ("an id twice", table([TEXTS[0], TEXTS[0]]), {}, "is also the id on line 2"),
    ("a column twice", "text,label,text\n가,x,나\n", {}, "column text: more than once; there: text, label, text"),
    ("a key twice", '[{"text": "가", "text": "나", "label": "x"}]', {}, "the key 'text' is there more than once"),
    (
        "a key twice in a line",
        '{"text": "가", "label": "x", "label": "y"}\n',
        {},
        "the key 'label' is there more than on",
    ),
    ("a key in two cases", '[{"text": "가", "Text": "나", "label": "x"}]', {}, "column text: more than once; there: t"),
    (
        "a long key",
        json.dumps([{"k" * 10**6: 1}]),
        {},
        "column text: missing from the header, as is label; there: ...;",
    ),
    ("many keys", json.dumps([{f"k{i}": i for i in range(10**4)}]), {}, "there: k0, k1, k2,"),
    ("a long value", lines([{"text": ["x" * 10**6], "label": "x"}]), {}, "column text: expected text, found ['xxx"),
    ("a truth as label", lines([{"text": "가", "label": True}]), {}, "column label: expected a name or a whole number"),
    ("NaN as label", '[{"text": "가", "label": NaN}]', {}, "expected a name or a whole number, found nan"),
    ("infinity as label", '{"text": "가", "label": -Infinity}', {}, "expected a name or a whole number, found -inf"),
    ("a truth as id", lines([{"id": True, "text": "가", "label": "x"}]), {}, "column id: expected text, found True"),
    ("a list as id", lines([{"id": [1], "text": "가", "label": "x"}]), {}, "column id: expected text, found [1]"),
    ("not a Parquet file", b"PAR1 and no more", {}, "train.data: not a Parquet file"),
    ("not JSON lines", '{"text": "가"}\n{"text": \n', {}, "line 2: not an object of JSON lines"),
    ("a list among JSON lines", '{"text": "가"}\n[1]\n', {}, "line 2: expected an object, found [1]"),
    (
        "relations asked for",
        table(TEXTS),
        {"task": "relation"},
        "column id: missing from the header",
    ),
    ("pairs asked for", table(TEXTS), {"task": "pair"}, "column pair: missing from the header"),
    ("of no encoding", "text,label\n가,x\n".encode("utf-16-le") + b"\xff", {}, "not UTF-8"),
]


@pytest.mark.parametrize(
    ("content", "data", "message"), [one[1:] for one in MALFORMED], ids=[one[0] for one in MALFORMED]
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, content: str | bytes, data: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        training(tmp_path, content, **data)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 350


@pytest.mark.parametrize("end", ["\u2028", "\u0085", "\u2029"])
def test_an_end_of_line_inside_of_a_text_ends_no_line_of_json(tmp_path: Path, end: str) -> None:
    rows = [{"text": f"가{end}나", "label": "x"}, {"text": "다", "label": "y"}]
    assert [row.sentence for row in training(tmp_path, lines(rows).replace("\n", "\r\n")).rows] == [f"가{end}나", "다"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"text": "a", "label": "A"}, "the column a is given twice"), ({"id": " "}, "expected the name of a column")],
)
def test_a_column_is_one_thing(columns: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Data.model_validate({"train": "train.csv", "columns": columns})
