"""The data of a study as a whole: its training rows, extra rows that only train, and its test rows.

An extra row that is a copy of a training row would teach a fold what it is judged by, and one that is a copy of a test
row what is handed in.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace

from foldrace.studies.data import Data
from foldrace.studies.identity import joint_digest
from foldrace.trainer.data.examples import Example, Examples, class_of, locate, make_examples, read_test, read_training
from foldrace.trainer.data.folds import normalise_sentence
from foldrace.trainer.data.formats import DataFile
from foldrace.trainer.data.rows.columns import ColumnNames
from foldrace.trainer.data.rows.reader import read_rows


def read_data(data: Data) -> tuple[Examples, Examples | None]:
    """The training rows of a study, behind them its extra rows; and its test rows, where it has any.

    Raises:
        DataError: a file is malformed, or an extra row is a copy and `data.extra_copies` refuses it.
    """
    training = read_training(data)
    test = None if data.test is None else read_test(data.test, training.labels, data, training.task)
    return (_with_extra(training, test, data) if data.extra else training), test


def describe_extra(examples: Examples) -> str:
    """How many rows of a study's data only train, and how many were left out, in words."""
    left_out = f"; left out as copies of training or test rows: {examples.copies}" if examples.copies else ""
    return f"{examples.extra} of these only train{left_out}"


def warn_of_test_copies(training: Examples, test: Examples | None) -> list[str]:
    """A line where test rows are training rows too: the same texts with the same entities. None where none is."""
    rows = () if test is None else test.rows
    known = {_content(example) for example in training.rows}
    copies = sum(_content(example) in known for example in rows)
    told = f"warning   {copies} of the {len(rows)} test rows are training rows too: models are trained on them"
    return [told] if copies else []


def _content(example: Example) -> Hashable:
    pair = None if example.pair is None else normalise_sentence(example.pair)
    return normalise_sentence(example.sentence), pair, example.entities


def _with_extra(training: Examples, test: Examples | None, data: Data) -> Examples:
    files = [DataFile.read(path) for path in data.extra]
    rows = read_rows(files, ColumnNames(data).beside(training.task))
    found = [(locate(row), class_of(row, training.labels)) for row in rows]
    labelled = [one for one in found if one[1] is not None]
    extra = make_examples(labelled, training.labels, data)
    known = _KnownRows.of(training, test)
    copied = [known.find(example) for example in extra.rows]
    for ((row, _), _), original in zip(labelled, copied, strict=True):
        if original and data.extra_copies == "refuse":
            remedy = 'take it out, or leave all such rows out by data.extra_copies = "drop"'
            raise row.place.error("sentence" if row.entities else "text", f"a copy of {original}; {remedy}")
    kept = [example for example, original in zip(extra.rows, copied, strict=True) if not original]
    return replace(
        training,
        rows=(*training.rows, *(replace(row, only_trains=True, fold=None) for row in kept)),
        repaired=training.repaired + extra.repaired,
        mismatched=(*training.mismatched, *extra.mismatched),
        outside=training.outside + len(rows) - len(labelled),
        copies=len(labelled) - len(kept),
        extra_digest=joint_digest([file.digest for file in files]),
    )


@dataclass(frozen=True)
class _KnownRows:
    """The rows that judge, by what makes another row a copy of them.

    As folds keep them together: rows with the same (first) text, and with the same group. Of pairs also the same two
    texts the other way.
    """

    places: dict[Hashable, str] = field(default_factory=dict)

    @classmethod
    def of(cls, training: Examples, test: Examples | None) -> "_KnownRows":
        found = dict[Hashable, str]()
        for example in () if test is None else test.rows:
            found |= dict.fromkeys(_keys(replace(example, group=None)), f"the test row {example.id}")
        for example in training.rows:
            found |= dict.fromkeys(_keys(example), f"the training row {example.id}")
        return cls(found)

    def find(self, example: Example) -> str:
        """The row that this one is a copy of, in words; empty where there is none."""
        return next((self.places[key] for key in _keys(example) if key in self.places), "")


def _keys(example: Example) -> Iterator[Hashable]:
    first = normalise_sentence(example.sentence)
    yield first
    if example.pair is not None:
        yield frozenset((first, normalise_sentence(example.pair)))
    if example.group is not None:
        yield "group", example.group
