"""Rows of the training data that give the very same input two labels: no model can learn both."""

from collections.abc import Hashable

from foldrace.trainer.data.examples import Example, Examples
from foldrace.trainer.data.folds import normalise_sentence


def describe_contradictions(examples: Examples) -> str:
    """How many inputs have more than one label, and where the first of them is, in words; empty where none has."""
    found = find_contradictions(examples)
    if not found:
        return ""
    names, what = examples.labels.names, {"relation": "sentence", "text": "text", "pair": "pair"}[examples.task]
    one, other = found[0]
    again = str(other.place).removeprefix(str(one.place).rpartition("line ")[0])  # the same file is named once
    first = f"{names[one.label or 0]} in {one.place}, and {names[other.label or 0]} in {again}"
    return f"{len(found)} {what}{'s' * (len(found) > 1)} with more than one label, first {first}"


def find_contradictions(examples: Examples) -> list[tuple[Example, Example]]:
    """For each input with more than one label, its first row and the next one that has another label.

    Inputs are the same as folds know copies: upper and lower case and white space count for nothing. Of pairs, both
    texts are the same, and of relations the entities too.
    """
    first, found = dict[Hashable, Example](), dict[Hashable, tuple[Example, Example]]()
    for row in examples.rows:
        key = _input(row)
        other = first.setdefault(key, row)
        if other.label != row.label:
            found.setdefault(key, (other, row))
    return list(found.values())


def _input(row: Example) -> Hashable:
    pair = None if row.pair is None else normalise_sentence(row.pair)
    entities = tuple((entity.text, entity.start, entity.end) for entity in row.entities)
    return normalise_sentence(row.sentence), pair, entities
