"""Rows in memory: values by column, or sentences like `[S:PER]이순신[/S]은 [O]조선[/O]의 장수다.`"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from foldrace.trainer.data.formats import Place, column_name

_MARKER = re.compile(r"\[/?[SO](?::[^\]\s]+)?\]")


def records_of(rows: Iterable[str | Mapping[Any, object]]) -> Iterator[tuple[Place, Mapping[str, object]]]:
    """Rows in memory, as `read_records` has those of a file. The id of a row is by default its index.

    Args:
        rows: values by column; or sentences whose entities are marked, as `[S:PER]이순신[/S]은 [O]조선[/O]의 장수다.`
            The types are optional.

    Raises:
        DataError: an entity of a sentence is not marked exactly once.
    """
    for index, row in enumerate(rows):
        place = Place(None, index)
        found = _marked(row, place) if isinstance(row, str) else row
        yield place, {"id": index} | {column_name(str(name).strip().lower()): value for name, value in found.items()}


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
