"""Each supported format is read to the same rows, and each malformed one is refused by file, line and column."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldrace.studies.data import Data
from foldrace.trainer.data.examples import DataError, Entity, Examples, read_test, read_training
from foldrace.trainer.data.labels import Labels

Write = Callable[[str], Path]

SENTENCE = "가람은 나래사의 대표다."
TSV = f"a-1\t{SENTENCE}\t가람\t0\t1\t나래사\t4\t6\t직함\na-2\t{SENTENCE}\t나래사\t4\t6\t가람\t0\t1\t없음\n"
SUBJECT = {"word": "가람", "start_idx": 0, "end_idx": 1, "type": "PER"}
OBJECT = {"word": "나래사", "start_idx": 4, "end_idx": 6, "type": "ORG"}
HEADER = "id,sentence,subject_entity,object_entity,label\n"
ROW = f'a-1,{SENTENCE},"{SUBJECT}","{OBJECT}",직함\n'
CSV = HEADER + ROW + f'a-2,{SENTENCE},"{OBJECT}","{SUBJECT}",없음\n'
OBJECTS: list[dict[str, object]] = [
    {"guid": "a-1", "sentence": SENTENCE, "subject_entity": SUBJECT, "object_entity": OBJECT, "label": "직함"},
    {"guid": "a-2", "sentence": SENTENCE, "subject_entity": OBJECT, "object_entity": SUBJECT, "label": "없음"},
]
LABELS = Labels(("없음", "직함"), (0, 1))
KLUE_RE = Path(__file__).parents[3] / "shared" / "data" / "klue_re"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a data file whose name says nothing about its format."""

    def write(text: str) -> Path:
        path = tmp_path / "data.bin"
        path.write_bytes(text.encode())
        return path

    return write


def training(path: Path, *exclude: str, labels: Path | None = None) -> Examples:
    return read_training(Data(train=path, labels=labels, exclude_labels=exclude))


def read_as_test(path: Path, labels: Labels) -> Examples:
    return read_test(path, labels, Data(train=path), "relation")


def entities(examples: Examples, row: int = 0) -> tuple[Entity, Entity]:
    """Subject and object of a row."""
    found = examples.rows[row]
    assert found.subject is not None
    assert found.object is not None
    return found.subject, found.object


def without_types(examples: Examples) -> list[tuple[object, ...]]:
    def spans(entity: Entity) -> tuple[str, int, int]:
        return entity.text, entity.start, entity.end

    return [
        (row.id, row.sentence, *map(spans, entities(examples, i)), row.label) for i, row in enumerate(examples.rows)
    ]


# What is read


def test_a_pstage_row_becomes_an_example(write: Write) -> None:
    first = training(write(TSV)).rows[0]
    assert (first.id, first.sentence, first.label) == ("a-1", SENTENCE, 1)
    assert first.subject == Entity("가람", 0, 1, None)
    assert first.object == Entity("나래사", 4, 6, None)


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        CSV.replace("label\n", "label,source\n").replace("직함\n", "직함,wiki\n").replace("없음\n", "없음,wiki\n"),
        json.dumps(OBJECTS, ensure_ascii=False),
        json.dumps(OBJECTS, indent=2),
        "id\tsentence\tentity1\tstart1\tend1\tentity2\tstart2\tend2\tlabel\n" + TSV,
        "information\tsentence\tentity_01\tentity_01_start\tentity_01_end\t"
        "entity_02\tentity_02_start\tentity_02_end\trelation\n" + TSV,
        "\ufeff" + CSV,
        "\ufeff" + TSV,
        CSV.replace("\n", "\r\n"),
        TSV.replace("\n", "\r\n"),
        TSV.replace("\n", "\n\n"),
        TSV.removesuffix("\n"),
    ],
)
def test_every_format_reads_to_the_same_rows(write: Write, text: str) -> None:
    found = training(write(text))
    expected = training(write(TSV))
    assert without_types(found) == without_types(expected)
    assert found.labels == expected.labels == LABELS


def test_the_types_of_entities_are_kept_where_the_format_has_them(write: Write) -> None:
    subject, target = entities(training(write(CSV)))
    assert (subject.type, target.type) == ("PER", "ORG")


def test_an_entity_may_be_written_as_json(write: Write) -> None:
    cell = json.dumps(SUBJECT | {"type": None}).replace('"', '""')
    first = training(write(CSV.replace(str(SUBJECT), cell))).rows[0]
    assert first.subject == Entity("가람", 0, 1, None)


@given(word=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=50).filter(str.strip))
def test_any_word_is_read_as_python_wrote_it(tmp_path_factory: pytest.TempPathFactory, word: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any_word.csv"
    entity = {"word": word, "start_idx": 0, "end_idx": len(word) - 1, "type": "PER"}
    file = io.StringIO(newline="")
    csv.writer(file).writerows([HEADER.strip().split(","), ["a", word, entity, entity, "직함"]])
    path.write_bytes(file.getvalue().encode())
    found = training(path)
    composed = normalize("NFC", word)
    assert (found.rows[0].sentence, entities(found)[0].text) == (composed, composed)
    assert (found.repaired, found.mismatched) == (0, ())


def test_an_id_in_json_may_be_a_number(write: Write) -> None:
    text = json.dumps([OBJECTS[0] | {"guid": 7}])
    assert training(write(text)).rows[0].id == "7"


# Labels


def test_labels_found_in_the_data_are_sorted_by_name(write: Write) -> None:
    assert training(write(TSV.replace("직함", "b").replace("없음", "a"))).labels == Labels(("a", "b"), (0, 1))


@pytest.mark.parametrize("named", ["label-{}", "{}"])
def test_a_column_that_is_no_label_is_refused_before_the_folds_are_planned(write: Write, named: str) -> None:
    rows = [f"a-{i}\t{SENTENCE}\t가람\t0\t1\t나래사\t4\t6\t{named.format(1000 + i)}\n" for i in range(30_000)]
    path = write("".join(rows))

    with pytest.raises(DataError) as refused:
        training(path)

    assert "30,000 labels, as '" in str(refused.value)
    assert "at most 2,000 can be told apart; is its label column the right one?" in str(refused.value)


def test_excluded_labels_lose_their_rows_and_the_others_keep_their_codes(write: Write) -> None:
    found = training(write(TSV), "없음")
    assert found.labels == Labels(("직함",), (1,))
    assert [(row.id, row.label) for row in found.rows] == [("a-1", 0)]


def test_a_number_is_the_code_of_a_label(write: Write, tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text('{"없음": 3, "직함": 100}', encoding="utf-8")
    found = training(write(TSV.replace("직함", "100").replace("없음", "3")), labels=labels)
    assert [row.label for row in found.rows] == [1, 0]


def test_labels_that_are_all_numbers_are_their_own_codes(write: Write) -> None:
    found = training(write(TSV.replace("직함", "10").replace("없음", "9")))
    assert found.labels == Labels(("9", "10"), (9, 10))


@pytest.mark.parametrize(
    ("hidden", "outside"), [("blind", 0), ("100", 0), ("", 0), (" ", 0), ("없는이름", 1), ("7", 1)]
)
def test_a_test_label_that_is_hidden_or_unknown_is_none(write: Write, hidden: str, outside: int) -> None:
    found = read_as_test(write(CSV.replace("직함", hidden)), LABELS)
    assert [row.label for row in found.rows] == [None, 0]
    assert found.outside == outside


@pytest.mark.parametrize("hidden", [100, None])
def test_a_json_label_may_be_hidden(write: Write, hidden: int | None) -> None:
    text = json.dumps([OBJECTS[0] | {"label": hidden}, OBJECTS[1] | {"label": 1}])
    assert [row.label for row in read_as_test(write(text), LABELS).rows] == [None, 1]


@pytest.mark.parametrize(
    "text",
    [
        CSV.replace(",label", "").replace(",직함", "").replace(",없음", ""),
        TSV.replace("\t직함", "").replace("\t없음", ""),
        json.dumps([{k: v for k, v in o.items() if k != "label"} for o in OBJECTS]),
    ],
)
def test_a_test_file_needs_no_label_column(write: Write, text: str) -> None:
    assert [row.label for row in read_as_test(write(text), LABELS).rows] == [None, None]


def test_100_is_a_label_where_it_is_the_code_of_one(write: Write) -> None:
    found = read_as_test(write(TSV.replace("직함", "100")), Labels(("없음", "직함"), (0, 100)))
    assert [row.label for row in found.rows] == [1, 0]


def test_an_excluded_label_is_none_in_a_test_file(write: Write) -> None:
    found = read_as_test(write(TSV), LABELS.without(["없음"]))
    assert [row.label for row in found.rows] == [0, None]


# Spans


@pytest.mark.parametrize(("start", "end"), [(4, 7), (3, 6), (5, 7), (2, 4), (6, 8)])
def test_a_span_within_two_characters_of_its_text_is_repaired(write: Write, start: int, end: int) -> None:
    found = training(write(TSV.replace("나래사\t4\t6\t직", f"나래사\t{start}\t{end}\t직")))
    assert found.rows[0].object == Entity("나래사", 4, 6, None)
    assert (found.repaired, found.mismatched) == (1, ())


def test_an_exclusive_end_may_lie_just_outside_the_sentence(write: Write) -> None:
    last = len(SENTENCE)
    found = training(write(TSV.replace("나래사\t4\t6\t직", f"대표다.\t{last - 4}\t{last}\t직")))
    assert found.rows[0].object == Entity("대표다.", last - 4, last - 1, None)


@pytest.mark.parametrize(("start", "end"), [(1, 3), (7, 9), (4, 9)])
def test_a_span_farther_from_its_text_is_left_and_counted(write: Write, start: int, end: int) -> None:
    found = training(write(TSV.replace("나래사\t4\t6\t직", f"나래사\t{start}\t{end}\t직")))
    assert found.rows[0].object == Entity("나래사", start, end, None)
    assert (found.repaired, found.mismatched) == (0, ("a-1",))


def test_a_span_is_not_repaired_with_text_from_the_other_end(write: Write) -> None:
    found = training(write(f"a\t{SENTENCE}\t.\t0\t0\t나래사\t4\t6\t직함\n"))
    assert (found.rows[0].subject, found.mismatched) == (Entity(".", 0, 0, None), ("a",))


def test_spans_of_excluded_rows_are_not_counted(write: Write) -> None:
    found = training(write(TSV.replace("나래사\t4\t6\t직", "나래사\t8\t9\t직")), "직함")
    assert (found.repaired, found.mismatched) == (0, ())


# What is refused

BAD_TSV = [
    ("a column too few", TSV.replace("\t없음", ""), "line 2, column label: missing"),
    ("a column too many", TSV.replace("없음", "없음\tx"), "line 2, column 10: extra"),
    ("the first row short", TSV.replace("\t나래사\t4\t6\t직함", ""), "line 1, column entity2: missing"),
    ("no labels at all", TSV.replace("\t직함", "").replace("\t없음", ""), "line 1, column label: expected a label"),
    ("a hidden label", TSV.replace("없음", "blind"), "line 2, column label: expected a label, found 'blind'"),
    ("a hidden code", TSV.replace("없음", "100"), "line 2, column label: expected a label, found '100'"),
    ("an empty label", TSV.replace("없음", ""), "line 2, column label: expected a label, found none"),
    ("an unprintable label", TSV.replace("없음", "없\a음"), "line 2, column label: '없\\x07음'"),
    ("a word for a number", TSV.replace("\t4\t6\t직", "\tx\t6\t직"), "line 1, column start2: expected a whole number"),
    ("a fraction", TSV.replace("\t4\t6\t직", "\t4\t6.0\t직"), "line 1, column end2: expected a whole number"),
    ("a start outside", TSV.replace("\t4\t6\t직", "\t-9\t6\t직"), "line 1, column start2: -9 lies outside"),
    ("an end outside", TSV.replace("\t4\t6\t직", "\t4\t999\t직"), "line 1, column end2: 999 lies outside 4 to 12"),
    ("a span upside down", TSV.replace("\t4\t6\t직", "\t9\t2\t직"), "line 1, column end2: 2 lies outside 9 to 12"),
    ("an empty id", TSV.replace("a-2", ""), "line 2, column id: empty"),
    ("a repeated id", TSV.replace("a-2", "a-1"), "line 2, column id: 'a-1' is also the id on line 1"),
    ("an empty sentence", TSV.replace(f"a-2\t{SENTENCE}", "a-2\t "), "line 2, column sentence: empty"),
    ("an empty entity", TSV.replace("나래사\t4\t6\t직", "\t4\t6\t직"), "line 1, column entity2: empty"),
    ("a NUL", TSV.replace("나래사\t4\t6\t가", "나래\0사\t4\t6\t가"), "line 2, column entity1: holds a NUL"),
    ("10 MB", TSV + TSV.replace("a-", "b-").replace("가람은", "가" * 10_000_000), "line 3, column sentence: 10,00"),
    ("an open quote", TSV.replace("나래사\t4\t6\t가", '"나래사\t4\t6\t가'), "line 2, column 3: unbalanced quotes"),
    ("a quote in a later line", 'a\t"가\n나"\t"가\t0\t0', "line 2, column 3: unbalanced quotes"),
    ("a bare quote", TSV.replace("a-2\t가", 'a-2\t"가" 가'), "line 2, column 2: unbalanced quotes"),
    ("quotes over rows", 'a\t"가\t나\na-0\t가" 가\n' + TSV, "line 1, column 2: unbalanced quotes"),
    ("quotes that close", TSV.replace("a-1\t", 'a-1\t"') + 'a-3\t가"' + TSV[28:], "line 1, column 2: its quotes"),
    ("after a long cell", 'a-0\t"가\n\n나"\t가\t0\t0\t나\t3\t3\tx\n' + TSV + "a-3", "line 6, column sentence: missing"),
]
BAD_CSV = [
    ("no header", CSV.removeprefix(HEADER), "line 1, column text: missing from the header, as is label; there: "),
    ("a header too short", CSV.replace(",object_entity,", ",x,"), "line 1, column object_entity: missing from the h"),
    ("a column twice", CSV.replace(",object_", ",sentence,object_"), "line 1, column sentence: more than once"),
    ("a comma too many", CSV.replace("a-2,", "a-2,,"), "line 3, column 6: extra"),
    ("a comma too few", CSV.replace("a-2,", "a-2"), "line 3, column label: missing: the row has 4 of 5 columns"),
    ("no rows", HEADER, ": no rows"),
    ("not a dictionary", CSV.replace(str(SUBJECT), "가람", 1), "line 2, column subject_entity: not a dictionary"),
    ("a call", CSV.replace(str(SUBJECT), "dict(word=1)", 1), "line 2, column subject_entity: not a dictionary"),
    ("a list", CSV.replace(str(SUBJECT), "[1]", 1), "line 2, column subject_entity: expected {'word'"),
    ("nested", CSV.replace(str(SUBJECT), "(" * 2_000, 1), "line 2, column subject_entity: not a dictionary"),
    ("signs", CSV.replace(str(SUBJECT), "-" * 1_999 + "1", 1), "line 2, column subject_entity: not a dictionary"),
    ("unhashable", CSV.replace(str(SUBJECT), "{[]: 1}", 1), "line 2, column subject_entity: not a dictionary"),
    ("a long one", CSV.replace(str(SUBJECT), "가" * 2_001, 1), "line 2, column subject_entity: 2,001 characters"),
    ("no word", CSV.replace("'word': '가람', ", "", 1), "line 2, column subject_entity: no 'word'"),
    ("a word of another type", CSV.replace("'가람'", "1", 1), "line 2, column subject_entity.word: expected text"),
    ("a NUL in a word", CSV.replace("'가람'", "'\\x00'", 1), "line 2, column subject_entity.word: holds a NUL"),
    ("half a pair", CSV.replace("'가람'", "'\\ud800'", 1), "line 2, column subject_entity.word: holds half of a surr"),
    ("a fraction", CSV.replace(": 0,", ": 0.5,", 1), "line 2, column subject_entity.start_idx: expected a whole"),
    ("a long number", CSV.replace(": 0,", f": 0x{'f' * 1_800},", 1), "subject_entity.start_idx: expected a whole"),
    (
        "a key twice",
        CSV.replace("{'word'", "{'word': '나', 'word'", 1),
        "line 2, column subject_entity: not a dictionary",
    ),
    ("a truth", CSV.replace(": 0,", ": True,", 1), "line 2, column subject_entity.start_idx: expected a whole"),
    ("a span outside", CSV.replace(": 1,", ": 99,", 1), "line 2, column subject_entity.end_idx: 99 lies outside"),
]
BAD_JSON = [
    (
        "an object",
        json.dumps({"data": OBJECTS}),
        "line 1, column text: missing from the header, as is label; there: data",
    ),
    ("empty", "[]", ": no rows"),
    ("cut off", json.dumps(OBJECTS, indent=1)[:-2], "line 35: not a JSON list of rows: expected a comma or the end"),
    ("cut off within", json.dumps(OBJECTS, indent=1)[:-20], "line 34: not a JSON list of rows: "),
    ("a comma too many", json.dumps(OBJECTS)[:-1] + ",]", "line 1: not a JSON list of rows: Expecting value"),
    ("something after", json.dumps(OBJECTS) + "\n\nx", "line 3: not a JSON list of rows: expected nothing after"),
    ("a list in the list", "[[]]", "line 1: not a JSON list of rows: expected an object, found '[]]'"),
    ("deep", "[" * 100_000, "line 1: not a JSON list of rows: "),
    ("a long number", '[{"guid": ' + "9" * 5_000 + "}]", "line 1: not a JSON list of rows: "),
    ("a missing key", json.dumps(OBJECTS).replace("guid", "x"), "line 1 (object 1), column id: missing"),
    ("half of a form", json.dumps([OBJECTS[0] | {"start1": 0}]), "line 1 (object 1), column entity1: missing"),
    ("no entity", json.dumps(OBJECTS, indent=1).replace("object_e", "e"), "(object 1), column object_entity: missing"),
    ("a NUL", json.dumps(OBJECTS, indent=1).replace('"a-2"', '"\\u0000"'), "line 19 (object 2), column id: holds a N"),
    ("a key twice", json.dumps(OBJECTS).replace('{"word"', '{"word": "", "word"', 1), "the key 'word' is there more"),
    ("a truth", json.dumps(OBJECTS).replace(": 0,", ": true,", 1), "subject_entity.start_idx: expected a whole number"),
    ("2**70", json.dumps(OBJECTS).replace(": 0,", f": {2**70},", 1), "subject_entity.start_idx: expected a whole num"),
    ("a list for text", json.dumps([OBJECTS[0] | {"sentence": []}]), "(object 1), column sentence: expected text"),
    ("a list for a label", json.dumps([OBJECTS[0] | {"label": []}]), "(object 1), column label: expected a name"),
]


@pytest.mark.parametrize(
    ("text", "message"), [pytest.param(text, message, id=name) for name, text, message in BAD_TSV + BAD_CSV + BAD_JSON]
)
def test_a_malformed_file_is_refused_with_its_place(write: Write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(DataError) as caught:
        training(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250
    assert "\n" not in str(caught.value)


def test_an_unknown_label_is_named(write: Write, tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text('["직함"]', encoding="utf-8")
    with pytest.raises(DataError, match="line 2, column label: unknown label '없음'"):
        training(write(TSV), labels=labels)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="the file is empty"):
        training(tmp_path / "x")


@pytest.mark.parametrize("text", [CSV, TSV, json.dumps(OBJECTS, ensure_ascii=False, indent=0)])
def test_bytes_that_are_not_utf8_are_named_by_their_line(tmp_path: Path, text: str) -> None:
    path, line = tmp_path / "x", text[: text.index("없음")].count("\n") + 1
    path.write_bytes(text.encode().replace("없음".encode(), "없음".encode("euc-kr")))
    with pytest.raises(DataError, match=f"x, line {line}: not UTF-8"):
        training(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        training(tmp_path / "x")


def test_an_unknown_excluded_label_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match=r"data\.exclude_labels: no label 'no_relation' in [^;]*$"):
        training(write(TSV), "no_relation")
    with pytest.raises(DataError, match=r"data\.exclude_labels: no label '인물:직항' in .*; did you mean 인물:직함\?$"):
        training(write(TSV.replace("직함", "인물:직함")), "인물:직항")


def test_excluding_every_row_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match=r"data\.exclude_labels leaves no rows"):
        training(write(TSV), "직함", "없음")


def test_a_malformed_row_is_refused_even_if_its_label_is_excluded(write: Write) -> None:
    with pytest.raises(DataError, match="line 2, column end1"):
        training(write(TSV.replace("\t4\t6\t가", "\t4\t99\t가")), "없음")


@pytest.mark.skipif(not KLUE_RE.is_dir(), reason="the real data is not here")
def test_the_real_data_is_the_same_in_both_formats() -> None:
    boostcamp = training(KLUE_RE / "train.csv")
    pstage = training(KLUE_RE / "pstage" / "train.tsv", labels=KLUE_RE / "pstage" / "label_type.pkl")
    assert [row[1:] for row in without_types(boostcamp)] == [row[1:] for row in without_types(pstage)]
    assert boostcamp.labels == pstage.labels
    assert (len(boostcamp.rows), boostcamp.repaired, boostcamp.mismatched) == (3066, 0, ())
