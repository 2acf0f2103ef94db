"""The data of the shipped studies `demo`, `demo_text` and `demo_pair`.

`python -m foldrace.studies.demo.generator` writes it again.

Everything follows from one seed, to the byte. Nothing here may read a real data set, or import torch.
"""

import csv
import io
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from foldrace.studies.demo.questions import FITS, MISSES, ask
from foldrace.studies.demo.sentences import Entity, Pair, Sentence, compose
from foldrace.studies.demo.templates import INVERSE, LABELS, NO_RELATION, RARE

FOLDER = Path(__file__).parent
BLIND = "blind"

_SEED = 20210412
_TRAIN_ROWS, _TEST_ROWS = 1250, 300
_TRAIN_NOISE, _TEST_NOISE = 0.09, 0.03  # of the labels are wrong
_COPIES = 0.02  # of the rows are there twice
_ASKED_AGAIN = 0.3  # of the sentences come back with another pair
_RARE_TRAIN, _RARE_TEST = 4, 1
_TEXTS, _TEST_TEXTS = 800, 200
_PAIRS, _TEST_PAIRS = 1250, 300
_WEIGHTS = {
    NO_RELATION: 30,
    "인물:소속단체": 14,
    "인물:직함": 13,
    "단체:설립자": 10,
    "인물:출생지": 9,
    "단체:소재지": 7,
    "인물:작품": 6,
    "인물:배우자": 4,
    "인물:부모": 4,
    "인물:자녀": 3,
}


@dataclass(frozen=True)
class Row:
    """One question: how `subject` is related to `object` in `sentence`."""

    sentence: str
    subject: Entity
    object: Entity
    label: str


def labelled_rows(seed: int, count: int) -> tuple[bytes, bytes, list[str]]:
    """A training file of so many rows, drawn like the demo's with another seed; it as a test file; and its labels.

    Each row is mislabelled by chance: with a fixed share, as in the demo, sets differ less than independent rows do.
    """
    rng = random.Random(seed)
    noise = sum(rng.random() < _TRAIN_NOISE for _ in range(count)) / count
    rows = _rows(rng, count, _RARE_TRAIN, noise)
    cells = [_cells(f"row-{i:05}", row) for i, row in enumerate(rows)]
    blind = [_cells(f"row-{i:05}", replace(row, label=BLIND)) for i, row in enumerate(rows)]
    return _text(cells, "\t").encode(), _text(blind, "\t").encode(), [row.label for row in rows]


def files() -> dict[str, bytes]:
    """The files of the demo by name, as they are committed."""
    rng = random.Random(_SEED)
    train = _rows(rng, _TRAIN_ROWS, _RARE_TRAIN, _TRAIN_NOISE)
    test = _rows(rng, _TEST_ROWS, _RARE_TEST, _TEST_NOISE)
    truth = [("id", "label"), *((f"test-{i:04}", row.label) for i, row in enumerate(test))]
    contents = {
        "train.tsv": _text([_cells(f"train-{i:04}", row) for i, row in enumerate(train)], "\t"),
        "test.tsv": _text([_cells(f"test-{i:04}", replace(row, label=BLIND)) for i, row in enumerate(test)], "\t"),
        "test_labels.csv": _text(truth, ","),
        "label_type.json": json.dumps({label: i for i, label in enumerate(LABELS)}, ensure_ascii=False, indent=2)
        + "\n",
    }
    return {name: content.encode() for name, content in (contents | _text_files() | _pair_files()).items()}


def _text_files() -> dict[str, str]:
    """The files of `demo_text`: a sentence, and which relation it is about."""
    rng = random.Random(_SEED + 1)
    train, test = _texts(rng, _TEXTS, _TRAIN_NOISE), _texts(rng, _TEST_TEXTS, _TEST_NOISE)
    header = [("id", "text", "label")]
    return {
        "text_train.csv": _text(header + [(f"train-{i:04}", *row) for i, row in enumerate(train)], ","),
        "text_test.csv": _text([("id", "text")] + [(f"test-{i:04}", text) for i, (text, _) in enumerate(test)], ","),
        "text_test_labels.csv": _text(
            [("id", "label")] + [(f"test-{i:04}", label) for i, (_, label) in enumerate(test)], ","
        ),
    }


def _pair_files() -> dict[str, str]:
    """The files of `demo_pair`: a question, an answer, and whether it is one to that question."""
    rng = random.Random(_SEED + 2)
    train = _pairs(rng, _PAIRS, _TRAIN_NOISE, set())
    test = _pairs(rng, _TEST_PAIRS, _TEST_NOISE, {(question, answer) for question, answer, _ in train})
    blind = [(f"test-{i:04}", *pair) for i, (*pair, _) in enumerate(test)]
    truth = [(f"test-{i:04}", label) for i, (*_, label) in enumerate(test)]
    header = ("id", "sentence1", "sentence2")
    return {
        "pair_train.csv": _text([(*header, "label"), *((f"train-{i:04}", *row) for i, row in enumerate(train))], ","),
        "pair_test.csv": _text([header, *blind], ","),
        "pair_test_labels.csv": _text([("id", "label"), *truth], ","),
    }


def _pairs(rng: random.Random, count: int, noise: float, known: set[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """So many pairs, none of them `known`."""
    rows = list[tuple[str, str, str]]()
    while len(rows) < count:
        question, answer, label = ask(rng)
        if (question, answer) in known:
            continue
        if rng.random() < noise:
            label = FITS if label == MISSES else MISSES
        rows.append((question, answer, label))
    return rows


def _texts(rng: random.Random, count: int, noise: float) -> list[tuple[str, str]]:
    rows = []
    for label in rng.choices([label for label in _WEIGHTS if label not in INVERSE.values()], k=count):
        told = rng.choice(list(_WEIGHTS)) if rng.random() < noise else label
        rows.append((compose(label, rng).text, told))
    return rows


def _rows(rng: random.Random, count: int, rare: int, noise: float) -> list[Row]:
    rows = [row for _ in range(rare) for row in _asked(RARE, rng)[:1]]
    originals = count - round(_COPIES * count)
    while len(rows) < originals:
        [label] = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        rows += _asked(label, rng)
    del rows[originals:]
    rows += rng.sample(rows[rare:], count - originals)
    rng.shuffle(rows)
    common = [i for i, row in enumerate(rows) if row.label != RARE]
    for i in rng.sample(common, round(noise * count)):
        rows[i] = _mislabelled(rows[i], rng)
    return rows


def _asked(label: str, rng: random.Random) -> list[Row]:
    """A sentence asked about a pair with `label`, and sometimes about another pair that is related."""
    sentence = compose(label, rng)
    asked = rng.choice([pair for pair in sentence.pairs() if sentence.label(pair) == label])
    rows = [_row(sentence, asked)]
    others = [pair for pair, related in sentence.relations.items() if pair != asked and related != RARE]
    if others and rng.random() < _ASKED_AGAIN:
        rows.append(_row(sentence, rng.choice(others)))
    return rows


def _row(sentence: Sentence, pair: Pair) -> Row:
    return Row(sentence.text, *pair, sentence.label(pair))


def _mislabelled(row: Row, rng: random.Random) -> Row:
    return replace(row, label=rng.choice([label for label in LABELS if label not in (row.label, RARE)]))


def _cells(row_id: str, row: Row) -> tuple[str | int, ...]:
    subject, object_ = row.subject, row.object
    entities = (subject.text, subject.start, subject.end, object_.text, object_.start, object_.end)
    return (row_id, row.sentence, *entities, row.label)


def _text(rows: Iterable[Iterable[str | int]], delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return out.getvalue()


def main() -> None:
    for name, content in files().items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
