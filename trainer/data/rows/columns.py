"""Which column of the data is what: an id, a sentence, an entity, a label. The columns say which task the rows are of.

A column has its usual names, or the one that `data.columns` gives it. Upper and lower case are the same.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from foldrace.studies.data import Data, Task
from foldrace.trainer.data.formats import DataError, Place

PSTAGE = ("id", "sentence", "entity1", "start1", "end1", "entity2", "start2", "end2", "label")
KLUE = ("id", "sentence", "subject_entity", "object_entity", "label")
_RELATION = {"guid": "id", "information": "id", "relation": "label"} | {
    f"entity_0{i}{long}": f"{short}{i}"
    for i in (1, 2)
    for long, short in (("", "entity"), ("_start", "start"), ("_end", "end"))
}
_ENTITY = ("entity1", "start1", "subject_entity")  # only rows of relations have one of these
USUAL = {  # of the other tasks, the first one that is there counts
    "id": ("id", "index", "guid", "idx"),
    "text": ("text", "sentence", "sentence1", "document", "premise", "title", "question1"),
    "pair": ("pair", "sentence2", "hypothesis", "question2"),
    "label": ("label", "labels", "target", "topic_idx", "gold_label"),
}
_NUMBER = re.compile(r"[0-9]{1,9}")  # no column is called so
_OF_RELATION = "; of a relation: sentence,subject_entity,object_entity"
_LONG = 40  # characters; a longer name of a column is rather a text
_PARTS = (*PSTAGE, *KLUE, *USUAL, "group", "fold")
NEEDED: Mapping[Task, tuple[str, ...]] = {"relation": (), "text": ("text",), "pair": ("text", "pair")}


@dataclass(frozen=True)
class Layout:
    """What the columns of some rows are: the part that each column has, by its name in the file."""

    task: Task
    parts: Mapping[str, str]

    def of(self, record: Mapping[str, object]) -> dict[str, object]:
        """The values of a row by what they are."""
        return {self.parts[name]: value for column, value in record.items() if (name := _plain(column)) in self.parts}


@dataclass(frozen=True)
class ColumnNames:
    """Finds the columns of a study's data.

    Attributes:
        trains: the rows are trained on: they need a label, and the group and the fold that a study names.
        is_strict: columns of another task are refused.
    """

    data: Data
    trains: bool = True
    is_strict: bool = False

    def of_task(self, task: Task) -> "ColumnNames":
        """The same, of one task."""
        return replace(self, data=self.data.model_copy(update={"task": task}))

    def beside(self, task: Task) -> "ColumnNames":
        """Those of rows beside training rows of a task, whose columns told it unless the study names it."""
        return replace(self.of_task(task), trains=False, is_strict=self.data.task is None)

    def header(self, place: Place, cells: Sequence[str], delimiter: str) -> tuple[Sequence[str], bool]:
        """The names of a table's columns, and whether its first row holds them: P-Stage files have no header."""
        names = [_plain(cell) for cell in cells]
        is_header = delimiter == "," or self._given or not any(_NUMBER.fullmatch(name) for name in names)
        if not is_header and self.data.task in (None, "relation"):
            return PSTAGE[:8] if len(cells) == 8 else PSTAGE, False  # a test file without labels has eight
        try:
            self.layout(place, names)
        except DataError as error:
            if not (doubt := _doubt(names)):
                raise
            raise DataError(f"{str(error).removesuffix(_OF_RELATION)}{doubt}") from None
        return names, True

    def layout(self, place: Place, names: Iterable[str]) -> Layout:
        """What the columns of these names are.

        Raises:
            DataError: one that is needed is missing, or two are the same part.
        """
        names = [_plain(name) for name in names]
        found = self._layout(place, names)
        filled = Counter(found.parts[name] for name in names if name in found.parts)
        repeated = next((part for part in _PARTS if filled[part] > 1), None)
        if repeated is not None:
            raise place.error(repeated, f"more than once; there: {_listed(names)}")
        return found

    def _layout(self, place: Place, names: Sequence[str]) -> Layout:
        for part, name in self._given.items():
            if name not in names and (self.trains or part in ("text", "pair")):
                raise place.error(name, f"missing, and data.columns.{part} names it; there: {_listed(names)}")
        entity = next((name for name in names if _RELATION.get(name, name) in _ENTITY), None)
        if self.data.task == "relation" or (self.data.task is None and entity is not None):
            return self._relation(place, names)
        self._refuse_other_task(place, {"the second text of a pair": self._usual("pair", names), "an entity": entity})
        found = {self._usual(part, names): part for part in USUAL if part not in self._given}
        parts = self._with_given({name: part for name, part in found.items() if name is not None})
        task: Task = self.data.task or ("pair" if "pair" in parts.values() else "text")
        missing = [part for part in NEEDED[task] if part not in parts.values()]
        if missing:
            unlabelled = self.trains and "label" not in parts.values()
            raise place.error(missing[0], self._missing([*missing, *(["label"] if unlabelled else [])], names))
        return Layout(task, parts)

    def _refuse_other_task(self, place: Place, others: Mapping[str, str | None]) -> None:
        """Raise DataError where single texts have a column that such rows have not: `others`, by what they would be."""
        for what, name in others.items():
            if self.is_strict and self.data.task == "text" and name is not None:
                alone = "leave the column out, or --set data.task=text takes the text alone"
                raise place.error(name, f"{what}, and the training rows are single texts; {alone}")

    @cached_property
    def _given(self) -> dict[str, str]:
        return {part: _plain(name) for part, name in self.data.columns.given.items()}

    def _usual(self, part: str, names: Sequence[str]) -> str | None:
        """The column of a part that the study does not name."""
        taken = self._given.values()
        return next((name for name in USUAL[part] if name in names and name not in taken), None)

    def _with_given(self, parts: Mapping[str, str], **called: str) -> dict[str, str]:
        """The parts of columns, where a column that the study names stands for any other one of its part."""
        given = {name: called.get(part, part) for part, name in self._given.items()}
        return {name: part for name, part in parts.items() if part not in given.values()} | given

    def _missing(self, parts: Sequence[str], names: Sequence[str]) -> str:
        relation = _OF_RELATION if self.data.task is None else ""
        also = f", as {'is' if len(parts) == 2 else 'are'} {' and '.join(parts[1:])}" if parts[1:] else ""
        them, named = "them" if also else "it", ", ".join(f'{part} = "..."' for part in parts)
        called = f"call {them} {', '.join(USUAL[part][0] for part in parts)}, or give data.columns"
        return f"missing from the header{also}; there: {_listed(names)}; {called} = {{ {named} }}{relation}"

    def _relation(self, place: Place, names: Sequence[str]) -> Layout:
        parts = self._with_given({name: _RELATION.get(name, name) for name in names}, text="sentence")
        *needed, label = PSTAGE if "start1" in parts.values() else KLUE
        for column in needed:
            if column not in parts.values():
                raise place.error(column, f"missing from the header; expected {','.join([*needed, label])}")
        return Layout("relation", parts)


def _plain(name: object) -> str:
    return str(name).strip().lower()


def _doubt(names: Sequence[str]) -> str:
    """A question about a table whose first row hardly names columns; empty of one that does."""
    if len(names) == 1 and re.search("[;|]", names[0]):
        return "; is the separator a comma or a tab?"
    return "; has the file a header?" if any(_NUMBER.fullmatch(name) or len(name) > _LONG for name in names) else ""


def _listed(names: Sequence[str]) -> str:
    return textwrap.shorten(", ".join(name[:81] for name in names[:80]), 80, placeholder=" ...") or "none"
