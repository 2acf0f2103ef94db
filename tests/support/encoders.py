"""Small folders as the encoders in use lie on the hub: a random model of each family, and a tokenizer of its kind."""

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    BertConfig,
    BigBirdConfig,
    DebertaV2Config,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
    XLNetConfig,
)

from foldrace.trainer.data.tokenizer import build_tokenizer

_PIECES = 400  # of a SentencePiece model or a BPE
_VOCABULARY = 1000  # of the models: some pieces more than their tokenizers have, as on the hub
_Form = Literal["NFC", "NFD"]
_DRAWN = {"initializer_range": 0.1}  # with less, so narrow a model hardly tells rows apart
_SIZES: dict[str, Any] = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    **_DRAWN,
}
_BERT = {**_SIZES, "max_position_embeddings": 130}
_ENDS = {"bos_token_id": 0, "eos_token_id": 0}
_DECODER = {**_SIZES, "max_position_embeddings": 128, "num_key_value_heads": 2, "head_dim": 8}
_DEBERTA = {"relative_attention": True, "position_buckets": 32, "norm_rel_ebd": "layer_norm", "share_att_key": True} | {
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
_OF_KOBERT: dict[str, Any] = {
    "tokenizer_class": "XLNetTokenizer",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
} | {
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}
_BIG_BIRD: dict[str, Any] = {"attention_type": "block_sparse", "block_size": 4, "num_random_blocks": 1}


def make_encoder(family: str, sentences: Iterable[str], folder: Path) -> Path:
    """Save a random model of a family of `ENCODERS`, and a tokenizer of the sentences, in a new folder; returns it."""
    config, save_tokenizer = ENCODERS[family]
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    save_tokenizer(list(sentences), folder)
    return folder


def _save_vocabulary(sentences: list[str], folder: Path, **settings: Any) -> None:
    """A `vocab.txt` alone, as KLUE's models have it."""
    pieces = build_tokenizer("tiny", sentences, []).get_vocab()
    specials = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]  # in the order of klue/roberta
    others = [piece for piece in sorted(pieces, key=pieces.__getitem__) if piece not in specials]
    text = "\n".join([*specials, *others[: _VOCABULARY - 40]]) + "\n"
    (folder / "vocab.txt").write_text(text, encoding="utf-8")
    _save_settings(folder, tokenizer_class="BertTokenizer", do_lower_case=False, **settings)


def _save_sentencepiece(sentences: list[str], folder: Path, name: str, form: _Form = "NFC", **settings: Any) -> None:
    """A SentencePiece model alone, under the file name that the family has."""
    text = folder / "sentences.txt"
    text.write_text("\n".join(unicodedata.normalize(form, one) for one in sentences), encoding="utf-8")
    options: dict[str, Any] = {"hard_vocab_limit": False, "normalization_rule_name": "identity"}
    for i, part in enumerate(("pad", "bos", "eos", "unk")):
        options |= {f"{part}_id": i, f"{part}_piece": ["[PAD]", "[CLS]", "[SEP]", "[UNK]"][i]}
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "spm"), vocab_size=_PIECES, minloglevel=2, **options
    )
    text.unlink()
    (folder / "spm.vocab").unlink()
    (folder / "spm.model").rename(folder / name)
    _save_settings(folder, do_lower_case=False, **settings)


def _save_bpe(sentences: list[str], folder: Path, starts: bool = False, **specials: str) -> None:
    """A byte-level BPE in `tokenizer.json`, as decoders have it; `starts`: a text begins with the first token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    names = list(dict.fromkeys(specials.values()))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        sentences,
        trainers.BpeTrainer(vocab_size=_PIECES, special_tokens=names, initial_alphabet=alphabet, show_progress=False),
    )
    if starts:
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{names[0]} $A", pair=f"{names[0]} $A {names[0]} $B", special_tokens=[(names[0], 0)]
        )
    PreTrainedTokenizerFast(tokenizer_object=bpe, **specials).save_pretrained(folder)


def _save_settings(folder: Path, **settings: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


_SaveTokenizer = Callable[[list[str], Path], None]
ENCODERS: Mapping[str, tuple[PretrainedConfig, _SaveTokenizer]] = {
    "klue-roberta": (
        RobertaConfig(**_BERT, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2),
        _save_vocabulary,
    ),
    "mdeberta-v3": (DebertaV2Config(**_BERT, **_DEBERTA), partial(_save_sentencepiece, name="spm.model")),
    "xlm-roberta": (
        XLMRobertaConfig(**_BERT, type_vocab_size=1),
        partial(_save_sentencepiece, name="sentencepiece.bpe.model"),
    ),
    "kobigbird": (BigBirdConfig(**_BERT, **_BIG_BIRD), _save_vocabulary),
    "kobert": (BertConfig(**_BERT), partial(_save_sentencepiece, name="spiece.model", **_OF_KOBERT)),
    "xlnet": (
        XLNetConfig(vocab_size=_VOCABULARY, d_model=32, n_layer=2, n_head=4, d_inner=64, **_DRAWN),
        partial(_save_sentencepiece, name="spiece.model", form="NFD", **_OF_KOBERT),  # it takes Hangul apart
    ),
    "gpt2": (
        GPT2Config(vocab_size=_VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, **_DRAWN, **_ENDS),
        partial(_save_bpe, eos_token="<|endoftext|>", bos_token="<|endoftext|>", unk_token="<|endoftext|>"),
    ),
    "qwen3": (
        Qwen3Config(**_DECODER),
        partial(_save_bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>"),
    ),
    "llama": (
        LlamaConfig(**_DECODER),
        partial(_save_bpe, starts=True, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>"),
    ),
}
