"""The three markings on examples made by hand, and what is kept of a row that is too long."""

from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from foldrace.studies.knobs import EntityMarking
from foldrace.trainer.data import encoding
from foldrace.trainer.data.batching import Tokens
from foldrace.trainer.data.encoding import encode, mark, marker_tokens
from foldrace.trainer.data.examples import Entity, Example
from foldrace.trainer.data.tokenizer import load_tokenizer

KNOWN = ("[S:PER]", "[O:ORG]")


def entity(sentence: str, text: str, type_: str | None) -> Entity:
    start = sentence.index(text)
    return Entity(text, start, start + len(text) - 1, type_)


def example(
    sentence: str, subject: str, object_: str, types: tuple[str | None, str | None] = ("PER", "ORG")
) -> Example:
    return Example("0", sentence, entity(sentence, subject, types[0]), entity(sentence, object_, types[1]), None)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tokenizer_folder)


def row(tokens: Tokens, tokenizer: PreTrainedTokenizerBase, i: int = 0) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(list(tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]])))


LONG = example("이순신은 한성에서 태어나 노량에서 전사했다. 서울대학교 병원은 서울에 있다.", "이순신", "한성")
LATE = example("이순신은 한성에서 태어나 노량에서 전사했다. 서울대학교 병원은 서울에 있다.", "병원", "서울에")


# Marking


def test_markers_stand_around_both_entities() -> None:
    marked = mark(example("이순신은 한성에서 태어났다.", "이순신", "한성"), KNOWN)

    assert marked.split() == ["[S:PER]", "이순신", "[/S:PER]", "은", "[O:ORG]", "한성", "[/O:ORG]", "에서", "태어났다."]


def test_an_entity_may_end_the_sentence() -> None:
    assert (
        mark(example("비틀즈의 조지", "조지", "비틀즈"), KNOWN) == " [O:ORG] 비틀즈 [/O:ORG] 의  [S:PER] 조지 [/S:PER] "
    )


def test_an_entity_within_another_is_marked_within_its_markers() -> None:
    marked = mark(example("서울대학교 병원은", "서울대학교 병원", "서울대학교"), KNOWN)

    assert marked.split() == ["[S:PER]", "[O:ORG]", "서울대학교", "[/O:ORG]", "병원", "[/S:PER]", "은"]


def test_an_entity_at_the_end_of_another_closes_first() -> None:
    marked = mark(example("서울대학교 병원은", "병원", "서울대학교 병원"), KNOWN)

    assert marked.split() == ["[O:ORG]", "서울대학교", "[S:PER]", "병원", "[/S:PER]", "[/O:ORG]", "은"]


def test_adjoining_entities_do_not_cross() -> None:
    marked = mark(example("서울병원은", "서울", "병원"), KNOWN)

    assert marked.split() == ["[S:PER]", "서울", "[/S:PER]", "[O:ORG]", "병원", "[/O:ORG]", "은"]


@pytest.mark.parametrize("types", [(None, None), ("DAT", "LOC")])
def test_an_entity_without_a_known_type_gets_the_plain_markers(types: tuple[str | None, str | None]) -> None:
    marked = mark(example("이순신은 한성에서", "이순신", "한성", types), KNOWN)

    assert marked.split() == ["[S]", "이순신", "[/S]", "은", "[O]", "한성", "[/O]", "에서"]


def test_marker_tokens_are_those_of_the_data_and_the_plain_ones() -> None:
    rows = (example("가 나", "가", "나"), example("가 나", "가", "나", (None, None)), example("가 나", "나", "가"))

    assert marker_tokens(rows) == ["[O:ORG]", "[O]", "[S:PER]", "[S]", "[/O:ORG]", "[/O]", "[/S:PER]", "[/S]"]


# Encoding


def test_concat_puts_both_entities_before_the_sentence(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = encode((LONG,), tokenizer, "concat", 128)

    assert row(tokens, tokenizer).startswith("[CLS] 이순신 [SEP] 한성 [SEP] ")
    assert row(tokens, tokenizer).endswith(" [SEP]")
    assert row(tokens, tokenizer).count("[SEP]") == 3


def test_concat_numbers_the_sentence_as_the_second_segment(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = encode((LONG,), tokenizer, "concat", 128)

    assert tokens.types is not None
    assert list(tokens.types) == [0] * 5 + [1] * (len(tokens.ids) - 5)


def test_typed_markers_are_single_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = encode((LONG,), tokenizer, "typed_markers", 128)

    assert row(tokens, tokenizer).startswith("[CLS] [S:PER] 이순신 [/S:PER] 은 [O:ORG] 한성 [/O:ORG] ")


def test_none_leaves_the_sentence_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = encode((LONG,), tokenizer, "none", 128)

    assert list(tokens.ids) == tokenizer(LONG.sentence)["input_ids"]


def test_rows_stand_end_to_end(tokenizer: PreTrainedTokenizerBase) -> None:
    short = example("비틀즈의 조지", "조지", "비틀즈")

    tokens = encode((LONG, short, LONG), tokenizer, "none", 128)

    assert row(tokens, tokenizer, 1) == " ".join(["[CLS]", *tokenizer.tokenize(short.sentence), "[SEP]"])
    assert row(tokens, tokenizer, 0) == row(tokens, tokenizer, 2)
    assert tokens.offsets[-1] == len(tokens.ids)


def test_a_tokenizer_without_token_types_gives_none(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]

    assert encode((LONG,), tokenizer, "concat", 128).types is None


@pytest.mark.parametrize("marking", ["none", "concat", "typed_markers"])
def test_rows_are_the_same_however_many_are_tokenised_at_once(
    tokenizer: PreTrainedTokenizerBase, marking: EntityMarking, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (LONG, example("조지", "조지", "조지"), LATE, LONG, LATE)
    together = encode(rows, tokenizer, marking, 12, with_entities=True)

    monkeypatch.setattr(encoding, "ROWS_AT_ONCE", 2)
    apart = encode(rows, tokenizer, marking, 12, with_entities=True)

    assert together.truncated == apart.truncated > 0
    for name in ("ids", "types", "offsets", "of_entity"):
        assert np.array_equal(getattr(together, name), getattr(apart, name))


# Rows that are too long


@pytest.mark.parametrize("marking", ["none", "concat", "typed_markers"])
def test_a_long_row_loses_its_end_but_not_its_closing_token(
    tokenizer: PreTrainedTokenizerBase, marking: EntityMarking
) -> None:
    whole = encode((LONG,), tokenizer, marking, 128)
    cut = encode((LONG, example("조지", "조지", "조지")), tokenizer, marking, 12)

    assert list(cut.ids[:11]) == list(whole.ids[:11])
    assert row(cut, tokenizer).split()[11] == "[SEP]"
    assert cut.offsets[1] == 12
    assert cut.truncated == 1


def test_the_closing_token_keeps_its_segment(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = encode((LONG,), tokenizer, "concat", 8)

    assert tokens.types is not None
    assert list(tokens.types) == [0, 0, 0, 0, 0, 1, 1, 1]


def test_a_row_of_just_the_maximal_length_is_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    length = len(encode((LONG,), tokenizer, "none", 128).ids)

    assert encode((LONG,), tokenizer, "none", length).truncated == 0
    assert encode((LONG,), tokenizer, "none", length - 1).truncated == 1


def test_marked_entities_at_the_end_of_a_long_row_are_kept(tokenizer: PreTrainedTokenizerBase) -> None:
    kept = row(encode((LATE,), tokenizer, "typed_markers", 12), tokenizer).split()

    assert kept[0] == "[CLS]"
    assert kept[-2:] == ["[/O:ORG]", "[SEP]"]
    assert "[S:PER]" in kept
    assert len(kept) == 12


def test_entities_too_far_apart_lose_the_second(tokenizer: PreTrainedTokenizerBase) -> None:
    apart = example(LONG.sentence, "한성", "서울에")

    kept = row(encode((apart,), tokenizer, "typed_markers", 8), tokenizer).split()

    assert kept[:4] == ["[CLS]", "[S:PER]", "한성", "[/S:PER]"]
    assert kept[-1] == "[SEP]"
    assert len(kept) == 8


# Without entities


def text_of(sentence: str, pair: str | None = None) -> Example:
    return Example("0", sentence, None, None, None, pair)


@pytest.mark.parametrize("marking", ["none", "concat", "typed_markers"])
def test_a_text_or_a_pair_is_encoded_as_it_is(tokenizer: PreTrainedTokenizerBase, marking: EntityMarking) -> None:
    texts = encode((text_of("이순신은"), text_of("한성에서")), tokenizer, marking, 32)
    pairs = encode((text_of("이순신은", "한성에서"),), tokenizer, marking, 32)

    assert row(texts, tokenizer, 1) == "[CLS] " + " ".join(tokenizer.tokenize("한성에서")) + " [SEP]"
    first, second = (" ".join(tokenizer.tokenize(text)) for text in ("이순신은", "한성에서"))
    assert row(pairs, tokenizer) == f"[CLS] {first} [SEP] {second} [SEP]"
    assert pairs.types is not None
    assert pairs.types.tolist() == [0] * (first.count(" ") + 3) + [1] * (second.count(" ") + 2)


def test_a_pair_that_is_too_long_loses_the_end_of_its_longer_text(tokenizer: PreTrainedTokenizerBase) -> None:
    found = encode((text_of(LONG.sentence, "한성에서"), text_of("이순신은", "한성에서")), tokenizer, "none", 14)

    assert (found.truncated, found.lengths[0]) == (1, 14)
    second = " ".join(tokenizer.tokenize("한성에서"))
    assert row(found, tokenizer).endswith(f"[SEP] {second} [SEP]")
    assert row(found, tokenizer).startswith("[CLS] " + tokenizer.tokenize(LONG.sentence)[0])


def test_rows_without_entities_need_no_markers() -> None:
    assert marker_tokens((text_of("이순신은"),)) == []
