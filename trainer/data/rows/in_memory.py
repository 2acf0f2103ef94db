"""Rows in memory: values by column, sentences, pairs, or sentences like `[S:PER]이순신[/S]은 [O]조선[/O]의 장수다.`"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from foldrace.errors import short_repr
from foldrace.studies.data import Data, Task
from foldrace.trainer.data.formats import Place, Records

Rows = Iterable[str | Sequence[str] | Mapping[Any, object]]

_MARKER = re.compile(r"\[/?[SO](?::[^\]\s]+)?\]")


def records_of(rows: Rows, data: Data) -> Records:
    """Rows in memory, as `read_records` has those of a file. The id of a row is by default its index.

    Args:
        data: of the study, which may name the columns of texts.
        rows: values by column; or texts, or pairs of texts. Of relations, the entities of a text are marked, as in
            `[S:PER]이순신[/S]은 [O]조선[/O]의 장수다.` The types are optional.

    Raises:
        DataError: a row is not what the task needs, as an entity that is not marked exactly once.
    """
    names, task = data.columns, data.task or "relation"
    called = {"text": names.text, "sentence": names.text, "pair": names.pair}
    for index, row in enumerate(rows):
        place = Place(None, index)
        if isinstance(row, Mapping):
            yield place, {"id": index} | dict(row)
        else:
            values = _values(row, place, task)
            yield place, {"id": index} | {called.get(part) or part: value for part, value in values.items()}


def _values(row: object, place: Place, task: Task) -> Mapping[str, object]:
    if isinstance(row, str) and task == "relation":
        return _marked(row, place)
    if isinstance(row, str) and task == "text":
        return {"text": row}
    if isinstance(row, Sequence) and task == "pair" and not isinstance(row, str) and len(row) == 2:
        return {"text": row[0], "pair": row[1]}
    expected = {"relation": "a text with marked entities", "text": "a text", "pair": "a pair of texts"}[task]
    raise place.error("text", f"expected {expected}, or values by column; found {short_repr(row)}")


def _marked(text: str, place: Place) -> Mapping[str, object]:
    entities = {"subject_entity": _entity(text, "S", place), "object_entity": _entity(text, "O", place)}
    return {"sentence": _MARKER.sub("", text), **entities}


def _entity(text: str, name: str, place: Place) -> Mapping[str, object]:
    opening = list(re.finditer(rf"\[{name}(?::([^\]\s]+))?\]", text))
    closing = list(re.finditer(rf"\[/{name}(?::[^\]\s]+)?\]", text))
    if len(opening) != 1 or len(closing) != 1 or opening[0].end() > closing[0].start():
        raise place.error(
            "sentence",
            f"expected [{name}]...[/{name}] once; mark the subject as [S]...[/S] and the object as [O]...[/O], "
            "or give rows with their columns",
        )
    start = len(_MARKER.sub("", text[: opening[0].start()]))
    word = _MARKER.sub("", text[opening[0].end() : closing[0].start()])
    return {"word": word, "start_idx": start, "end_idx": start + len(word) - 1, "type": opening[0][1]}
