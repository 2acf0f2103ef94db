"""The study's tokenizer: loaded from the hub or a folder, or trained on the study's own text for `tiny`.

The first worker of a run builds it and saves it with the run. Every worker loads it. The markers of entities are
special tokens of it.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    XLNetConfig,
    XLNetTokenizer,
)

from foldrace.studies.sections import TINY
from foldrace.trainer.hub import ModelError, load_failure, load_pretrained, refuse_adapter

TINY_VOCABULARY = 6000  # pieces, at most
_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MIN_VOCABULARY = 100  # pieces; a tokenizer with fewer was loaded from the wrong files


def build_tokenizer(
    name: str, sentences: Iterable[str], markers: list[str], vocabulary: int | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of model `name`, with the entity `markers` as special tokens.

    Args:
        sentences: what the tokenizer of `tiny` is trained on.
        vocabulary: how many pieces it may have, without the markers; None: `TINY_VOCABULARY`.

    Raises:
        ModelError: there is no such folder or hub model, its vocabulary has only a handful of pieces, or `vocabulary`
            has no place for every character.
    """
    tokenizer = _train_wordpiece(list(sentences), vocabulary) if name == TINY else _of_pretrained(name)
    tokenizer.add_special_tokens({"additional_special_tokens": markers})
    return tokenizer


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder or on the hub.

    Raises:
        ModelError: there is none, or it does not load.
    """
    tokenizer = load_pretrained(AutoTokenizer, name, "tokenizer")
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ModelError(load_failure(str(name), "tokenizer", TypeError("no tokenizer there")))
    return tokenizer


def _of_pretrained(name: str) -> PreTrainedTokenizerBase:
    refuse_adapter(name)
    tokenizer = load_tokenizer(name)
    if len(tokenizer) < MIN_VOCABULARY:
        raise ModelError(
            f"model.name: the tokenizer of {name} has {len(tokenizer)} pieces; its vocabulary did not load"
        )
    config = load_pretrained(AutoConfig, name, "model")
    if isinstance(tokenizer, XLNetTokenizer) and not isinstance(config, XLNetConfig):
        tokenizer = _frame_as_bert(tokenizer)
    _ensure_padding(tokenizer, config, name)
    if getattr(config, "type_vocab_size", 0) < 2:
        # As klue/roberta: the tokenizer numbers the segments of a pair, but the model has a single segment.
        names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
        tokenizer.model_input_names = names
        tokenizer.init_kwargs["model_input_names"] = names  # save_pretrained saves these
    return tokenizer


def _ensure_padding(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, name: str) -> None:
    """Give a tokenizer without a padding token, as decoders have it, the one of its model, or its end of a text.

    Raises:
        ModelError: it has neither.
    """
    if tokenizer.pad_token is not None:
        return
    of_model = config.pad_token_id
    is_known = isinstance(of_model, int) and 0 <= of_model < len(tokenizer)
    token = tokenizer.convert_ids_to_tokens(of_model) if is_known else tokenizer.eos_token
    if token is None:
        raise ModelError(
            f"model.name: the tokenizer of {name} has neither a pad_token to fill up short rows with, nor an "
            "eos_token in its place; name one in its tokenizer_config.json"
        )
    tokenizer.pad_token = token


def _frame_as_bert(tokenizer: XLNetTokenizer) -> PreTrainedTokenizerBase:
    """The tokenizer of a BERT that names XLNet's for its pieces, as skt/kobert.

    transformers' class takes Hangul apart into jamo, which such a vocabulary lacks, and frames a text as XLNet's own.
    """
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([backend.normalizer, normalizers.NFC()])
    backend.post_processor = processors.BertProcessing(
        (tokenizer.sep_token, tokenizer.sep_token_id), (tokenizer.cls_token, tokenizer.cls_token_id)
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=names, **tokenizer.special_tokens_map)


def _train_wordpiece(sentences: list[str], vocabulary: int | None) -> PreTrainedTokenizerBase:
    """A WordPiece tokenizer. Wherever it is trained, it has the same pieces with the same numbers."""
    learner = _wordpiece({})
    words = (learner.pre_tokenizer.pre_tokenize_str(learner.normalizer.normalize_str(text)) for text in sentences)
    characters = sorted({character for of_text in words for word, _ in of_text for character in word})
    # The trainer numbers single characters in the order of a hash table, and breaks ties between merges by these
    # numbers. It keeps the order of special tokens, so the characters are given as such.
    known = [*_SPECIALS, *characters, *(f"##{character}" for character in characters)]
    if vocabulary is not None and vocabulary < len(known):
        found = f"the rows have {len(characters):,} different characters, which take {len(known):,} pieces"
        raise ModelError(f"model.vocabulary: {vocabulary:,} is too few: {found}; give at least as many")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary or TINY_VOCABULARY, special_tokens=known, show_progress=False
    )
    learner.train_from_iterator(sentences, trainer)
    wordpiece = _wordpiece(learner.get_vocab())
    wordpiece.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, wordpiece.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=wordpiece,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _wordpiece(vocabulary: dict[str, int]) -> Tokenizer:
    wordpiece = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    wordpiece.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return wordpiece


def explain_unknown(tokenizer: PreTrainedTokenizerBase) -> str:
    """Why a tokenizer may know little of a Korean text, and what would be right."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and backend.normalizer is not None and backend.normalizer.normalize_str("가") != "가":
        return "it takes Hangul apart; set do_lower_case = false in the model's tokenizer_config.json"
    if backend is not None and isinstance(backend.model, models.WordPiece) and "▁" in "".join(tokenizer.get_vocab()):
        return "its vocab.txt holds SentencePiece pieces; give a folder with the SentencePiece model itself"
    return "its vocabulary is not one of this text"


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token that fills up the rows of a batch; 0 where the tokenizer has none."""
    return 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
