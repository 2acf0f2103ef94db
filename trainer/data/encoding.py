"""From examples to token ids: the two entities are marked, then the sentence is tokenised."""

import re
from collections.abc import Collection, Mapping
from itertools import chain

import numpy as np
from transformers import PreTrainedTokenizerBase

from foldrace.studies.knobs import EntityMarking
from foldrace.trainer.data.batching import Tokens, join
from foldrace.trainer.data.entity_tokens import entity_flags
from foldrace.trainer.data.examples import Entity, Example

_COLUMNS = ("input_ids", "token_type_ids")
_OF_ENTITY = "of_entity"
ROWS_AT_ONCE = 4096  # that are tokenised together: as Python's lists, tokens take many times the room of their arrays
_MARKER = re.compile(r"\[/?[SO](:.*)?\]")


def marker_tokens(examples: tuple[Example, ...]) -> list[str]:
    """The special tokens that `typed_markers` needs, sorted: for each type that occurs, and for any other type.

    None where the examples have no entities.
    """
    entities = [one for e in examples for one in _entities(e)]
    if not entities:
        return []
    typed = {_typed(role, entity) for role, entity in entities if entity.type is not None}
    opening = sorted({"[S]", "[O]", *typed})
    return [*opening, *(_close(token) for token in opening)]


def marker_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], ...]:
    """The ids of the markers before a subject, and of those before an object, as `typed_markers` sets them."""
    known = tokenizer.get_added_vocab()
    opening = {role: re.compile(rf"\[{role}(:.*)?\]") for role in ("S", "O")}
    return tuple(tuple(sorted(n for token, n in known.items() if one.fullmatch(token))) for one in opening.values())


def encode(
    examples: tuple[Example, ...],
    tokenizer: PreTrainedTokenizerBase,
    marking: EntityMarking,
    max_length: int,
    with_entities: bool = False,
) -> Tokens:
    """The token ids of every example, at most `max_length` each.

    `concat` is the retrospective's way: the first segment holds both entities, joined by the separator, and the second
    one holds the sentence. `typed_markers` puts special tokens around the entities, after Zhou and Chen 2022 ("An
    Improved Baseline for Sentence-level Relation Extraction"). `none` leaves the sentence alone.

    Examples without entities are encoded as they are, a pair as two segments, whatever the `marking`.

    A row that is too long loses its end. Where that would cut off a marked entity, it loses its beginning.

    `with_entities` also says which tokens are of an entity. It needs a fast tokenizer.
    """
    parts = (examples[start : start + ROWS_AT_ONCE] for start in range(0, len(examples), ROWS_AT_ONCE))
    return join([_encode_some(part, tokenizer, marking, max_length, with_entities) for part in parts])


def _encode_some(
    examples: tuple[Example, ...],
    tokenizer: PreTrainedTokenizerBase,
    marking: EntityMarking,
    max_length: int,
    with_entities: bool,
) -> Tokens:
    markers: Mapping[int, str] = {}
    texts: tuple[list[str], ...]
    pairs = [e.pair for e in examples if e.pair is not None]
    if pairs:
        return _encode_pairs([e.sentence for e in examples], pairs, tokenizer, max_length)
    if not any(_entities(e) for e in examples[:1]):
        marking = "none"
    if marking == "concat":
        firsts = [f" {_separator(tokenizer)} ".join(entity.text for _, entity in _entities(e)) for e in examples]
        texts = (firsts, _apart([e.sentence for e in examples], tokenizer))
    elif marking == "typed_markers":
        known = tokenizer.get_added_vocab()
        texts = ([mark(e, known) for e in examples],)
        markers = {number: token for token, number in known.items() if _MARKER.fullmatch(token)}
    else:
        texts = ([e.sentence for e in examples],)
    encoded = tokenizer(*texts, return_attention_mask=False, verbose=False)
    columns = {name: encoded[name] for name in _COLUMNS if name in encoded}
    if with_entities and any(_entities(e) for e in examples[:1]):
        columns[_OF_ENTITY] = entity_flags(encoded, texts, examples, markers)
    return _truncate(columns, max_length, markers)


def _encode_pairs(firsts: list[str], seconds: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Tokens:
    """The token ids of pairs. One that is too long loses the ends of its sentences, first that of the longer one."""
    seconds = _apart(seconds, tokenizer)
    encoded = tokenizer(firsts, seconds, return_attention_mask=False, verbose=False)
    columns = {name: encoded[name] for name in _COLUMNS if name in encoded}
    long = [i for i, row in enumerate(columns["input_ids"]) if len(row) > max_length]
    for i in long:
        cut = tokenizer(firsts[i], seconds[i], truncation="longest_first", max_length=max_length, verbose=False)
        for name, rows in columns.items():
            rows[i] = cut[name]
    return _joined(columns, len(long))


def _separator(tokenizer: PreTrainedTokenizerBase) -> str:
    """The token between two texts; a decoder's tokenizer has but one for the end of a text."""
    return str(tokenizer.sep_token or tokenizer.eos_token or tokenizer.pad_token)


def _apart(seconds: list[str], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The second texts of pairs, behind a separator where the tokenizer would run them into the first ones."""
    frames = tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add(pair=False)
    return seconds if frames else [f"{_separator(tokenizer)}{text}" for text in seconds]


def unknown_share(tokens: Tokens, tokenizer: PreTrainedTokenizerBase) -> float:
    """The share of the tokens that stand for text which the tokenizer does not know; special tokens do not count."""
    unknown = tokenizer.unk_token_id
    framing = {tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.eos_token_id}
    if unknown is None or unknown in framing:  # it knows every text
        return 0.0
    of_text = ~np.isin(tokens.ids, [number for number in tokenizer.all_special_ids if number != unknown])
    return float((tokens.ids[of_text] == unknown).mean()) if of_text.any() else 0.0


def mark(example: Example, known: Collection[str]) -> str:
    """The sentence with special tokens around its entities. One entity may lie within the other.

    Args:
        known: the markers that the tokenizer knows. An entity whose type has none gets the marker without a type.
    """
    insertions = []
    for role, entity in _entities(example):
        typed = _typed(role, entity)
        opening = typed if typed in known else f"[{role}]"
        length = entity.end - entity.start
        # Of markers at one place, closing ones come first. Then the longer entity opens first.
        insertions.append((entity.start, 1, -length, opening))
        insertions.append((entity.end + 1, 0, length, _close(opening)))
    parts, done = [], 0
    for position, _, _, token in sorted(insertions):
        parts += [example.sentence[done:position], f" {token} "]
        done = position
    return "".join([*parts, example.sentence[done:]])


def _entities(example: Example) -> list[tuple[str, Entity]]:
    """The entities of a relation with their letters."""
    return [(role, e) for role, e in (("S", example.subject), ("O", example.object)) if e is not None]


def _typed(role: str, entity: Entity) -> str:
    return f"[{role}:{entity.type}]"


def _close(opening: str) -> str:
    return f"[/{opening[1:]}"


def _truncate(columns: dict[str, list[list[int]]], max_length: int, markers: Collection[int]) -> Tokens:
    """The rows end to end. Each keeps its first and its last token, and has at most `max_length` tokens."""
    ids = columns["input_ids"]
    long = [i for i, row in enumerate(ids) if len(row) > max_length]
    for i in long:
        start = _window_start(ids[i], max_length, markers)
        for rows in columns.values():
            rows[i] = [rows[i][0], *rows[i][start : start + max_length - 2], rows[i][-1]]
    return _joined(columns, len(long))


def _joined(columns: dict[str, list[list[int]]], truncated: int) -> Tokens:
    ids = columns["input_ids"]
    flat = {name: np.fromiter(chain.from_iterable(rows), dtype=np.int64) for name, rows in columns.items()}
    offsets = np.cumsum([0, *(len(row) for row in ids)], dtype=np.int64)
    of_entity = flat[_OF_ENTITY].astype(np.bool_) if _OF_ENTITY in flat else None
    return Tokens(flat["input_ids"], flat.get("token_type_ids"), offsets, truncated, of_entity)


def _window_start(row: list[int], max_length: int, markers: Collection[int]) -> int:
    """The first position to keep after the first token of a row that is too long.

    It is 1, or later where the last marker would be cut off, but never behind the first marker.
    """
    places = [i for i, token in enumerate(row) if token in markers]
    return max(1, min(places[0], places[-1] + 3 - max_length)) if places else 1
