"""From examples to token ids: the two entities are marked, then the sentence is tokenised."""

import numpy as np
from transformers import PreTrainedTokenizerBase

from studies.knobs import EntityMarking
from trainer.batching import Tokens
from trainer.examples import Entity, Example


def marker_tokens(examples: tuple[Example, ...]) -> list[str]:
    """The special tokens that `typed_markers` needs for these examples, sorted."""
    subjects = {_open("S", example.subject) for example in examples}
    objects = {_open("O", example.object) for example in examples}
    opening = sorted(subjects | objects)
    return [*opening, *(_close(token) for token in opening)]


def encode(
    examples: tuple[Example, ...], tokenizer: PreTrainedTokenizerBase, marking: EntityMarking, max_length: int
) -> Tokens:
    """Token ids of every example, cut at `max_length`.

    `concat` is the retrospective's way: both entities, joined by the separator, as a first segment before the
    sentence. `typed_markers` puts special tokens around the entities, after Zhou and Chen 2022 ("An Improved
    Baseline for Sentence-level Relation Extraction"). `none` leaves the sentence alone.
    """
    if marking == "concat":
        firsts = [f"{e.subject.text} {tokenizer.sep_token} {e.object.text}" for e in examples]
        texts = (firsts, [e.sentence for e in examples])
    elif marking == "typed_markers":
        texts = ([mark(e) for e in examples],)
    else:
        texts = ([e.sentence for e in examples],)
    encoded = tokenizer(*texts, return_attention_mask=False)
    return _cut(encoded, max_length, tokenizer)


def mark(example: Example) -> str:
    """The sentence with special tokens around its entities; one entity may lie within the other."""
    insertions = []
    for role, entity in (("S", example.subject), ("O", example.object)):
        opening = _open(role, entity)
        length = entity.end - entity.start
        insertions.append((entity.start, 1, -length, opening))  # at one place: close first, then open the longer first
        insertions.append((entity.end + 1, 0, length, _close(opening)))
    parts, done = [], 0
    for position, _, _, token in sorted(insertions):
        parts += [example.sentence[done:position], f" {token} "]
        done = position
    return "".join([*parts, example.sentence[done:]])


def _open(role: str, entity: Entity) -> str:
    return f"[{role}]" if entity.type is None else f"[{role}:{entity.type}]"


def _close(opening: str) -> str:
    return f"[/{opening[1:]}"


def _cut(encoded: dict[str, list[list[int]]], max_length: int, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """Rows end to end; one that is too long loses its end, but not its closing special token."""
    lengths = np.array([len(row) for row in encoded["input_ids"]], dtype=np.int64)
    kept = np.minimum(lengths, max_length)
    for row in encoded["input_ids"]:
        if len(row) > max_length:
            row[max_length - 1] = row[-1]
    columns = {
        name: np.array([token for row in encoded[name] for token in row[:max_length]], dtype=np.int64)
        for name in ("input_ids", "token_type_ids")
        if name in encoded and name in tokenizer.model_input_names
    }
    offsets = np.concatenate([[0], np.cumsum(kept)])
    return Tokens(columns["input_ids"], columns.get("token_type_ids"), offsets, int((lengths > max_length).sum()))
