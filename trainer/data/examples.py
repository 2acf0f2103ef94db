"""Examples from a study's data: rows with known labels, and of relations with entities that stand in their sentence.

A file is read and checked as a whole before any of it is used, so a run never starts on half of its data.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from unicodedata import normalize

from foldrace.errors import short_repr
from foldrace.studies.data import Data, Task
from foldrace.studies.identity import joint_digest
from foldrace.trainer.data.formats import DataError, DataFile, Place
from foldrace.trainer.data.labels import Labels, no_label, read_labels
from foldrace.trainer.data.rows.columns import USUAL, ColumnNames
from foldrace.trainer.data.rows.in_memory import Rows
from foldrace.trainer.data.rows.morphemes import split_morphemes
from foldrace.trainer.data.rows.reader import Mention, Row, read_rows, rows_in_memory

__all__ = ["DataError", "Entity", "Example", "Examples", "read_test", "read_training"]

HIDDEN_LABELS = ("blind", "100")  # what the competitions write in place of a hidden label
MAX_LABELS = 2_000  # the folds are planned in a table of sentences and labels
MAX_SHIFT = 2  # characters; a span that is wrong by more at one of its ends is not repaired
_SHIFTS = sorted(range(-MAX_SHIFT, MAX_SHIFT + 1), key=abs)


@dataclass(frozen=True)
class Entity:
    """A part of a sentence: its characters `start` to `end`, both included. `type` is None when the file has none."""

    text: str
    start: int
    end: int
    type: str | None


@dataclass(frozen=True)
class Example:
    """One row.

    Attributes:
        sentence: of a pair, its first one.
        subject, object: of a relation; else None.
        label: a class index; None when a test file hides it.
        pair: the second sentence of a pair; else None.
        group, fold: of what the study's columns of these names hold; None without one.
        only_trains: no fold is judged by it.
        place: where it was read; None of one that was made otherwise.
    """

    id: str
    sentence: str
    subject: Entity | None
    object: Entity | None
    label: int | None
    pair: str | None = None
    group: str | None = None
    fold: str | None = None
    only_trains: bool = False
    place: Place | None = field(default=None, compare=False, repr=False)

    @property
    def entities(self) -> tuple[Entity, ...]:
        """Subject and object of a relation; none of all else."""
        return tuple(one for one in (self.subject, self.object) if one is not None)


@dataclass(frozen=True)
class Examples:
    """The rows of a file, or of several.

    Attributes:
        rows: in the order of the files; last, those that only train.
        repaired: the number of spans that were moved to the text of their entity.
        mismatched: the ids of the rows with a span that holds another text than its entity's. They were left so.
        outside: the number of rows whose label is none of `labels`: of a training file they are left out.
        first_outside: the label of the first of these in a test file, and where it is; else empty.
        copies: the number of extra rows that were left out, because a training or a test row is the same.
        digest: the SHA-256 of the bytes of the file that they were read from; of several, a joint one; empty of rows in
            memory. `extra_digest` is that of extra files.
    """

    rows: tuple[Example, ...]
    labels: Labels
    repaired: int
    mismatched: tuple[str, ...]
    outside: int = 0
    first_outside: str = field(default="", compare=False)
    copies: int = 0
    digest: str = field(default="", compare=False)
    extra_digest: str = field(default="", compare=False)

    @property
    def task(self) -> Task:
        """What all rows are: the first one tells."""
        first = self.rows[0]
        return "relation" if first.subject is not None else "text" if first.pair is None else "pair"

    @property
    def extra(self) -> int:
        """The number of rows that only train."""
        return sum(row.only_trains for row in self.rows)


LocatedRow = tuple[Row, tuple[Entity, ...]]


def read_training(data: Data) -> Examples:
    """The training rows of a study, without those of `exclude_labels`, and without extra ones.

    Raises:
        DataError: the data or the label file is malformed, a row has no known label, or no rows are left.
    """
    files = [DataFile.read(path) for path in data.files["train"]]
    rows = read_rows(files, ColumnNames(data))
    if all(row.label is None for row in rows):
        usual = f'a column called {", ".join(USUAL["label"])}, or data.columns = {{ label = "..." }} that names it'
        raise rows[0].place.error("label", f"expected a label, found none in any row; training needs {usual}")
    every = _labels_of(rows) if data.labels is None else read_labels(data.labels)
    if len(every.names) > MAX_LABELS:
        there = f"{len(every.names):,} labels, as {short_repr(every.names[0])}"
        remedy = f"at most {MAX_LABELS:,} can be told apart; is its label column the right one?"
        raise DataError(f"{data.labels or data.source}: {there}; {remedy}")
    excluded = [normalize("NFC", name) for name in data.exclude_labels]
    for name in excluded:
        if name not in every.names:
            raise no_label("data.exclude_labels", name, every, data)
    labels = every.without(excluded)
    found = [(locate(row), class_of(row, labels)) for row in rows]
    kept = [(row, label) for row, label in found if label is not None]
    if not kept:
        raise DataError(f"{data.source}: data.exclude_labels leaves no rows")
    digest = joint_digest([file.digest for file in files])
    return replace(make_examples(kept, labels, data), outside=len(rows) - len(kept), digest=digest)


def read_test(source: Path | Rows, labels: Labels, data: Data, task: Task) -> Examples:
    """The rows of a test file, or some in memory. A label that is hidden, excluded or unknown becomes None.

    Args:
        data: of the study, which may name columns.
        task: of the training rows.

    Raises:
        DataError: a row is malformed, or the file cannot be read.
    """
    columns = ColumnNames(data).beside(task)
    if isinstance(source, Path):
        file = DataFile.read(source)
        rows, digest = read_rows([file], columns), file.digest
    else:
        rows, digest = rows_in_memory(source, columns), ""
    classes = [None if row.label is None else labels.find(row.label) for row in rows]
    named = (row for row, label in zip(rows, classes, strict=True) if label is None and row.label is not None)
    outside = [row for row in named if row.label not in HIDDEN_LABELS]
    first = f"{short_repr(outside[0].label)} in {outside[0].place}" if outside else ""
    examples = make_examples(zip(map(locate, rows), classes, strict=True), labels, data)
    return replace(examples, outside=len(outside), first_outside=first, digest=digest)


def _labels_of(rows: Iterable[Row]) -> Labels:
    """The labels that occur, in the order of their names. Where all are numbers, the numbers are the codes."""
    names = set[str]()
    for row in rows:
        if row.label is None or row.label in HIDDEN_LABELS:
            raise _hidden(row)
        if not row.label.isprintable():
            raise row.place.error("label", f"{short_repr(row.label)} is not the name of a label")
        if re.fullmatch(r"-?[0-9]+\.[0-9]*[1-9][0-9]*", row.label):
            raise row.place.error(
                "label", f"{row.label} is a number with a fraction; a label is a name or a whole number"
            )
        names.add(row.label)
    if all(re.fullmatch(r"0|[1-9][0-9]{0,8}", name) for name in names):
        codes = sorted(int(name) for name in names)
        return Labels(tuple(str(code) for code in codes), tuple(codes))
    return Labels(tuple(sorted(names)), tuple(range(len(names))))


def class_of(row: Row, labels: Labels) -> int | None:
    """The class of a row that is trained on; None where its label is left out. Raises DataError."""
    if row.label is not None and (found := labels.find(row.label)) is not None:
        return found
    if row.label in labels.excluded:
        return None
    if row.label is None or row.label in HIDDEN_LABELS:
        raise _hidden(row)
    known = "one of data.labels" if labels.digest else "the label of a training row"
    raise row.place.error("label", f"unknown label {short_repr(row.label)}; it is not {known}")


def _hidden(row: Row) -> DataError:
    found = "none" if row.label is None else f"{row.label!r}, which means hidden"
    return row.place.error("label", f"expected a label, found {found}; every training row needs one")


def make_examples(found: Iterable[tuple[LocatedRow, int | None]], labels: Labels, data: Data) -> Examples:
    """The examples of rows and their classes."""
    examples, repaired, mismatched = [], 0, []
    for (row, entities), label in found:
        subject, target = entities or (None, None)
        of_columns = row.pair, row.group, row.fold
        examples.append(Example(row.id, row.text, subject, target, label, *of_columns, place=row.place))
        spans = zip(entities, row.entities or (), strict=True)
        repaired += sum((entity.start, entity.end) != (mention.start, mention.end) for entity, mention in spans)
        if any(row.text[entity.start : entity.end + 1] != entity.text for entity in entities):
            mismatched.append(row.id)
    if data.morphemes is not None:
        examples = [_split(example) for example in examples]
    return Examples(tuple(examples), labels, repaired, tuple(mismatched))


def _split(example: Example) -> Example:
    """The example with its texts as their morphemes. Its entities follow."""
    split = split_morphemes(example.sentence)

    def moved(entity: Entity | None) -> Entity | None:
        if entity is None:
            return None
        start, end = split.place(entity.start), split.place(entity.end)
        holds = example.sentence[entity.start : entity.end + 1] == entity.text
        return replace(entity, text=split.text[start : end + 1] if holds else entity.text, start=start, end=end)

    subject, target = moved(example.subject), moved(example.object)
    pair = None if example.pair is None else split_morphemes(example.pair).text
    return replace(example, sentence=split.text, pair=pair, subject=subject, object=target)


def locate(row: Row) -> LocatedRow:
    """A row and its entities. Raises DataError where one lies outside of its sentence."""
    return row, tuple(_entity(row, mention) for mention in row.entities or ())


def _entity(row: Row, mention: Mention) -> Entity:
    """The entity where its text stands, at most `MAX_SHIFT` characters from its span; else where the file says."""
    for shift in _SHIFTS:
        start = mention.start + shift
        end = start + len(mention.text) - 1
        if start >= 0 and abs(end - mention.end) <= MAX_SHIFT and row.text.startswith(mention.text, start):
            return Entity(mention.text, start, end, mention.type)
    last = len(row.text) - 1
    if not 0 <= mention.start <= last:
        raise row.place.error(mention.columns[0], f"{mention.start} lies outside the sentence, 0 to {last}")
    if not mention.start <= mention.end <= last:
        raise row.place.error(mention.columns[1], f"{mention.end} lies outside {mention.start} to {last}")
    return Entity(mention.text, mention.start, mention.end, mention.type)
