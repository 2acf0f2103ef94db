"""Which tokens of a row are of its two entities, so that whatever drops or masks tokens leaves them alone."""

from collections.abc import Mapping

from transformers import BatchEncoding

from foldrace.trainer.data.examples import Example


def entity_flags(
    encoded: BatchEncoding, texts: tuple[list[str], ...], examples: tuple[Example, ...], markers: Mapping[int, str]
) -> list[list[int]]:
    """For every token of every row, 1 where it is of an entity, else 0.

    Args:
        encoded: what a fast tokenizer made of the `texts`: of the sentences; or of both entities, and the sentences.
        markers: the special tokens around entities, by their number; empty where nothing is marked.
    """
    if markers:
        steps = {number: -1 if token.startswith("[/") else 1 for number, token in markers.items()}
        return [_between_markers(row, steps) for row in encoded["input_ids"]]
    found = []
    for i, example in enumerate(examples):
        is_first = [int(len(texts) == 2 and sequence == 0) for sequence in encoded.sequence_ids(i)]
        before = len(texts[-1][i]) - len(example.sentence)  # characters that stand before the sentence
        of_sentence = _by_characters(encoded, i, example, (len(texts) - 1, before))
        found.append([one | other for one, other in zip(is_first, of_sentence, strict=True)])
    return found


def _between_markers(row: list[int], steps: Mapping[int, int]) -> list[int]:
    """1 for what stands between an opening and a closing marker. One entity may lie within the other."""
    flags, depth = [], 0
    for token in row:
        depth += steps.get(token, 0)
        flags.append(int(depth > 0))
    return flags


def _by_characters(encoded: BatchEncoding, i: int, example: Example, sentence: tuple[int, int]) -> list[int]:
    """1 for the tokens of row `i` that hold a character of an entity.

    Args:
        sentence: the number of the text that holds the sentence, and how many characters stand before it there.
    """
    sequence, before = sentence
    flags = [0] * len(encoded["input_ids"][i])
    for entity in example.entities:
        for place in range(entity.start, entity.end + 1):
            token = encoded.char_to_token(i, before + place, sequence)
            if token is not None:
                flags[token] = 1
    return flags
