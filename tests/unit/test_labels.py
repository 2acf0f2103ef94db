"""A label file is read without executing it, and anything but names and integers is refused."""

import json
import os
import pickle
from pathlib import Path

import pytest

from foldrace.trainer.data.formats import DataError
from foldrace.trainer.data.labels import Labels, read_labels

KLUE_RE = Path(__file__).parents[3] / "shared" / "data" / "klue_re"


def test_a_list_is_in_the_order_of_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('\ufeff["b", "관계 없음"]', encoding="utf-8")
    assert read_labels(path) == Labels(("b", "관계 없음"), (0, 1))


def test_a_map_is_in_the_order_of_its_codes(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('{"c": 7, "a": 2, "b": 0}', encoding="utf-8")
    assert read_labels(path) == Labels(("b", "a", "c"), (0, 2, 7))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_dict_is_read_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "labels.pkl"
    path.write_bytes(pickle.dumps({"직함": 1, "없음": 0}, protocol))
    assert read_labels(path) == Labels(("없음", "직함"), (0, 1))


def test_a_label_is_found_by_its_name_or_its_code() -> None:
    labels = Labels(("a", "3", "c"), (0, 2, 3))
    assert [labels.find(written) for written in ("a", "2", "c", "d", "1")] == [0, 1, 2, None, None]
    assert labels.find("3") == 1  # a name comes before a code


def test_an_index_is_found_by_name_only() -> None:
    labels = Labels(("a", "b"), (5, 6))
    assert [labels.index(name) for name in ("b", "6", "no_relation")] == [1, None, None]


def test_labels_left_after_an_exclusion_keep_their_codes() -> None:
    assert Labels(("a", "b", "c"), (0, 1, 2)).without(["b"]) == Labels(("a", "c"), (0, 2))


class Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_something_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    path, trace = tmp_path / "labels.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"a": Attack(trace)}, protocol))
    with pytest.raises(DataError, match=r"labels\.pkl: not a plain pickled dict.* asks for .*mkdir"):
        read_labels(path)
    assert not trace.exists()


def test_a_small_pickle_cannot_reserve_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "labels.pkl"
    path.write_bytes(b"\x80\x02}r\xff\xff\xff\x00.")
    with pytest.raises(DataError, match="memo index 16777215 in 9 bytes"):
        read_labels(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04]\x8c\x01aQ.",  # a persistent id
        b"Pa\n.",
        b"\x80\x04\x82\x01.",  # an extension code
        pickle.dumps({"a": 1})[:-3],
        b"garbage",
        b"\x80\xff.",
        b"(((((.",
        pickle.dumps({"a": 1.0}),
        pickle.dumps(("a", "b")),
        pickle.dumps({1: "a"}),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"labels\.pkl: "):
        read_labels(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("[]", "no labels"),
        ("{}", "no labels"),
        ("3", "expected a list of names, or names with their integers, found 3"),
        ('["a",\n"b"', "line 2: not JSON"),
        ("[" * 100_000, "recursion"),
        ('["a", 3]', "expected the name of a label, found 3"),
        ('["a", " "]', "expected the name of a label, found ' '"),
        ('["a", "b\\u0000"]', r"expected the name of a label, found 'b\\x00'"),
        ('["a", "\\ud800"]', r"expected the name of a label, found '\\ud800'"),
        ('["a", "b "]', "label 'b ' begins or ends with a space"),
        ('["a", "a"]', "'a' stands for more than one label"),
        ('{"a": 0, "a": 1}', "a label stands there more than once"),
        ('{"a": 0, "b": 0}', "0 stands for more than one label"),
        ('{"a": true}', "label 'a': expected an integer from 0 up, found True"),
        ('{"a": -1}', "label 'a': expected an integer from 0 up, found -1"),
        ('{"a": "0"}', "label 'a': expected an integer from 0 up, found '0'"),
        (json.dumps(["a" * 2**20]), "larger than 1,048,576 bytes"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_labels(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.txt: expected a label file that ends in \.json or \.pkl"):
        read_labels(tmp_path / "labels.txt")


@pytest.mark.skipif(not KLUE_RE.is_dir(), reason="the real data is not here")
def test_the_real_label_file_is_read() -> None:
    labels = read_labels(KLUE_RE / "pstage" / "label_type.pkl")
    assert (labels.index("no_relation"), labels.names[29], labels.codes) == (0, "per:title", tuple(range(30)))


def _nested(times: int, opcode: bytes) -> bytes:
    return b"\x80\x04}" + b")" + opcode * times + b"K\x01s."


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04})" + b"".join(b"2\x86" for _ in range(60)) + b"K\x01s.",  # each holds the one before twice
        _nested(200_000, b"\x85"),
        b"\x80\x04}(\x91K\x01s.",
    ],
    ids=["repeated tuples", "nested tuples", "a frozen set"],
)
def test_a_pickle_whose_keys_are_no_names_is_refused_before_it_is_built(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "labels.pkl"
    file.write_bytes(content)

    with pytest.raises(DataError, match="it holds a tuple or a set"):
        read_labels(file)
