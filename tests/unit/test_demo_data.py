"""The committed demo data: what the generator writes, and shaped as the demo needs it."""

import csv
import json
from collections import Counter

import pytest

from foldrace.studies.demo.generator import BLIND, FOLDER, files
from foldrace.studies.demo.questions import FITS
from foldrace.studies.demo.templates import LABELS, NO_RELATION, RARE

Rows = list[list[str]]


@pytest.fixture(scope="module")
def train() -> Rows:
    return _read("train.tsv")


@pytest.fixture(scope="module")
def test() -> Rows:
    return _read("test.tsv")


def _read(name: str, delimiter: str = "\t") -> Rows:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def _labels(rows: Rows) -> Counter[str]:
    return Counter(row[8] for row in rows)


def test_generator_writes_the_committed_files_byte_for_byte() -> None:
    committed = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in (".tsv", ".csv", ".json")}

    assert files() == committed


def test_rows_have_nine_columns_and_their_own_ids(train: Rows, test: Rows) -> None:
    assert (len(train), len(test)) == (1250, 300)
    assert {len(row) for row in train + test} == {9}
    assert len({row[0] for row in train + test}) == 1550


def test_each_entity_is_found_at_its_span(train: Rows, test: Rows) -> None:
    for _, sentence, subject, s_start, s_end, object_, o_start, o_end, _ in train + test:
        assert sentence[int(s_start) : int(s_end) + 1] == subject
        assert sentence[int(o_start) : int(o_end) + 1] == object_


def test_subject_comes_first_in_about_half_of_the_rows(train: Rows) -> None:
    first = sum(int(row[3]) < int(row[6]) for row in train)

    assert 0.4 < first / len(train) < 0.6


def test_sentences_are_8_to_25_words_long(train: Rows, test: Rows) -> None:
    words = [len(row[1].split()) for row in train + test]

    assert min(words) >= 8
    assert max(words) <= 25


def test_some_sentences_need_their_quotes_escaped() -> None:
    assert '""' in (FOLDER / "train.tsv").read_text(encoding="utf-8")


def test_labels_are_ten_relations_skewed_towards_none(train: Rows) -> None:
    counts = _labels(train)

    assert set(counts) == set(LABELS)
    assert counts.most_common(1)[0][0] == NO_RELATION
    assert 0.23 < counts[NO_RELATION] / len(train) < 0.32
    assert counts.most_common()[1][1] > 2 * counts.most_common()[-2][1]


def test_one_label_is_rarer_than_there_are_folds(train: Rows) -> None:
    assert _labels(train)[RARE] == 4


def test_sentences_come_back_with_other_pairs_and_as_copies(train: Rows) -> None:
    sentences = {row[1] for row in train}
    questions = {tuple(row[1:8]) for row in train}

    assert len(questions) - len(sentences) > 30
    assert 20 <= len(train) - len(questions) <= 30


def test_no_test_sentence_is_trained_on(train: Rows, test: Rows) -> None:
    assert not {row[1] for row in train} & {row[1] for row in test}


def test_some_labels_are_wrong_in_both_files(train: Rows, test: Rows) -> None:
    truth = [label for _, label in _read("test_labels.csv", ",")[1:]]

    assert 0.015 < _impossible(train, [row[8] for row in train]) / len(train) < 0.045
    assert 0 < _impossible(test, truth) / len(test) < 0.02


def _impossible(rows: Rows, labels: list[str]) -> int:
    """How many labels contradict the kind of their subject: such labels are noise, and about a third of the noise."""
    fields = ("전자", "은행", "출판사", "대학교", "건설", "재단")
    prefixes = ["인물" if row[2].endswith(fields) else "단체" for row in rows]
    return sum(label.startswith(prefix) for label, prefix in zip(labels, prefixes, strict=True))


def test_test_labels_are_blind_and_kept_apart(test: Rows) -> None:
    header, *truth = _read("test_labels.csv", ",")

    assert _labels(test) == {BLIND: 300}
    assert header == ["id", "label"]
    assert [row_id for row_id, _ in truth] == [row[0] for row in test]
    assert {label for _, label in truth} <= set(LABELS)


def test_texts_are_about_a_relation_each_and_a_test_text_is_new() -> None:
    header, *train = _read("text_train.csv", ",")
    _, *test = _read("text_test.csv", ",")
    _, *truth = _read("text_test_labels.csv", ",")

    assert header == ["id", "text", "label"]
    assert (len(train), len(test)) == (800, 200)
    assert not {text for _, text, _ in train} & {text for _, text in test}
    assert [row_id for row_id, _ in truth] == [row_id for row_id, _ in test]
    assert {label for _, _, label in train} == set(LABELS) - {RARE}


def test_whether_an_answer_fits_is_not_seen_in_the_answer_and_a_test_pair_is_new() -> None:
    header, *train = _read("pair_train.csv", ",")
    _, *test = _read("pair_test.csv", ",")
    _, *truth = _read("pair_test_labels.csv", ",")
    of_price = [
        label for *_, answer, label in train if answer.endswith(("원입니다.", "원만 내시면 됩니다.", "원을 받습니다."))
    ]

    assert header == ["id", "sentence1", "sentence2", "label"]
    assert (len(train), len(test)) == (1250, 300)
    assert not {tuple(row[1:3]) for row in train} & {tuple(row[1:]) for row in test}
    assert [row_id for row_id, _ in truth] == [row[0] for row in test]
    assert len(of_price) > 150
    assert 0.2 < of_price.count(FITS) / len(of_price) < 0.8


def test_label_map_numbers_every_label() -> None:
    numbers = json.loads((FOLDER / "label_type.json").read_text(encoding="utf-8"))

    assert numbers == {label: i for i, label in enumerate(LABELS)}


def test_files_are_plain_utf8_with_unix_line_ends() -> None:
    text = (FOLDER / "train.tsv").read_bytes()

    assert not text.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in text
