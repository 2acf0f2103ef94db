"""Which tokens of a row are of its two entities, so that whatever drops or masks tokens leaves them alone."""

from collections.abc import Mapping

from transformers import BatchEncoding

from foldrace.studies.knobs import EntityMarking
from foldrace.trainer.data.examples import Entity, Example


def entity_flags(
    encoded: BatchEncoding, examples: tuple[Example, ...], marking: EntityMarking, markers: Mapping[int, str]
) -> list[list[int]]:
    """For every token of every row, 1 where it is of an entity, else 0.

    Args:
        encoded: what a fast tokenizer made of the rows by this `marking`.
        markers: the special tokens around entities, by their number.
    """
    if marking == "typed_markers":
        steps = {number: -1 if token.startswith("[/") else 1 for number, token in markers.items()}
        return [_between_markers(row, steps) for row in encoded["input_ids"]]
    if marking == "none":
        return [_by_characters(encoded, i, example, 0) for i, example in enumerate(examples)]
    firsts = [[int(sequence == 0) for sequence in encoded.sequence_ids(i)] for i in range(len(examples))]
    seconds = [_by_characters(encoded, i, example, 1) for i, example in enumerate(examples)]
    return [[one | other for one, other in zip(*both, strict=True)] for both in zip(firsts, seconds, strict=True)]


def _between_markers(row: list[int], steps: Mapping[int, int]) -> list[int]:
    """1 for what stands between an opening and a closing marker. One entity may lie within the other."""
    flags, depth = [], 0
    for token in row:
        depth += steps.get(token, 0)
        flags.append(int(depth > 0))
    return flags


def _by_characters(encoded: BatchEncoding, i: int, example: Example, sequence: int) -> list[int]:
    """1 for the tokens of row `i` that hold a character of an entity, in the text number `sequence` of the row."""
    flags = [0] * len(encoded["input_ids"][i])
    for entity in example.entities:
        for token in _tokens_of(encoded, i, entity, sequence):
            flags[token] = 1
    return flags


def _tokens_of(encoded: BatchEncoding, i: int, entity: Entity, sequence: int) -> set[int]:
    found = (encoded.char_to_token(i, place, sequence) for place in range(entity.start, entity.end + 1))
    return {token for token in found if token is not None}
