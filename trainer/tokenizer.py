"""The study's tokenizer: loaded from the hub or a folder, or trained on the study's own text for `tiny`.

It is built once, saved with the run and loaded by every worker: training WordPiece is not deterministic, and the
markers of entities are special tokens that it must know.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from foldrace import FoldraceError

TINY = "tiny"
TINY_VOCABULARY = 6000  # pieces, at most
SMALLEST_VOCABULARY = 100  # pieces; a tokenizer with fewer was loaded from the wrong files


class ModelError(FoldraceError):
    """The model or its tokenizer cannot be loaded."""


def build_tokenizer(name: str, sentences: Iterable[str], markers: list[str]) -> PreTrainedTokenizerBase:
    """The tokenizer of model `name`, knowing the entity `markers`.

    Raises:
        ModelError: no such folder or hub model, or a vocabulary of a handful of pieces.
    """
    tokenizer = _train_wordpiece(sentences) if name == TINY else load_tokenizer(name)
    if len(tokenizer) < SMALLEST_VOCABULARY and name != TINY:
        raise ModelError(
            f"model.name: the tokenizer of {name} has {len(tokenizer)} pieces; its vocabulary did not load"
        )
    tokenizer.add_special_tokens({"additional_special_tokens": markers})
    return tokenizer


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder or on the hub; ModelError when there is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(unloadable(str(name), "tokenizer", error)) from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ModelError(unloadable(str(name), "tokenizer", TypeError("no tokenizer there")))
    return tokenizer


def unloadable(name: str, what: str, error: Exception) -> str:
    """One line: what could not be loaded, why, and what would be right."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(name).is_dir():
        return f"model.name: the folder {name} holds no {what} that loads ({reason}); save one with save_pretrained"
    return (
        f"model.name: no {what} {name!r} here or on the hub ({reason}); "
        "without a connection, download it elsewhere and give its folder: --set model.name=FOLDER"
    )


def _train_wordpiece(sentences: Iterable[str]) -> PreTrainedTokenizerBase:
    wordpiece = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # type: ignore[call-arg]
    wordpiece.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=TINY_VOCABULARY, special_tokens=specials, show_progress=False)
    wordpiece.train_from_iterator(sentences, trainer)
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
    )
