"""Folders that are not laid out as KoELECTRA's: SentencePiece models, adapters, and code of their own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from transformers import AutoConfig, BertConfig, DebertaV2Config, ElectraConfig, PretrainedConfig, XLMRobertaConfig

from foldrace.studies.loading import load
from foldrace.trainer import hub
from foldrace.trainer.data.examples import read_training
from foldrace.trainer.data.tokenizer import build_tokenizer, load_tokenizer
from foldrace.trainer.hub import ModelError, load_pretrained

SENTENCE = "이순신은 1592년 한성에서 일했다."
SPECIALS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
OF_KOBERT = {"tokenizer_class": "XLNetTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"} | {
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}


@pytest.fixture(scope="module")
def spm_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of the demo's sentences."""
    folder = tmp_path_factory.mktemp("spm")
    text = folder / "sentences.txt"
    text.write_text("\n".join(row.sentence for row in read_training(load("demo").data).rows), encoding="utf-8")
    options: dict[str, Any] = {}
    for i, name in enumerate(("pad", "bos", "eos", "unk")):
        options |= {f"{name}_id": i, f"{name}_piece": SPECIALS[i]}
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "spm"), vocab_size=300, minloglevel=2, **options
    )
    return folder / "spm.model"


@pytest.mark.parametrize(
    ("file", "config", "settings"),
    [
        ("spm.model", DebertaV2Config(vocab_size=700), {}),
        ("sentencepiece.bpe.model", XLMRobertaConfig(vocab_size=700), {}),
        ("spiece.model", BertConfig(vocab_size=700), OF_KOBERT),
    ],
    ids=["mdeberta", "xlm-roberta", "skt-kobert"],
)
def test_a_sentencepiece_model_reads_as_its_own_library_does(
    file: str, config: PretrainedConfig, settings: Mapping[str, str], spm_model: Path, tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path)
    (tmp_path / file).write_bytes(spm_model.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, **settings}), encoding="utf-8")

    build_tokenizer(str(tmp_path), (), ["[S]"]).save_pretrained(tmp_path / "saved")

    saved = load_tokenizer(tmp_path / "saved")
    assert saved.tokenize(SENTENCE) == sentencepiece.SentencePieceProcessor(str(spm_model)).encode(
        SENTENCE, out_type=str
    )
    assert saved("가")["input_ids"][0] == saved.cls_token_id  # a classifier reads the first token


def test_an_adapter_is_told_with_its_base(tmp_path: Path) -> None:
    settings = {"peft_type": "LORA", "base_model_name_or_path": "klue/bert-base"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "adapter_model.safetensors").touch()
    ElectraConfig().save_pretrained(tmp_path)  # some are saved with it

    with pytest.raises(
        ModelError, match=r"holds an adapter \(LORA\) of klue/bert-base, not a whole .* merge_and_unload"
    ):
        build_tokenizer(str(tmp_path), (), [])


def test_a_model_that_was_merged_with_its_adapter_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").touch()

    hub.refuse_adapter(str(tmp_path))


@pytest.mark.parametrize("by", ["auto_map", "file"])
def test_a_tokenizer_with_code_of_its_own_is_told(by: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tokenizer_class": "KoBertTokenizer"}
    if by == "auto_map":
        settings |= {"auto_map": {"AutoTokenizer": ["tokenization_kobert.KoBertTokenizer", None]}}
    else:
        (tmp_path / "tokenization_kobert.py").write_text("raise SystemExit", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")

    with pytest.raises(ModelError, match=r"the tokenizer of .* is code of its own .* never executes; give"):
        load_tokenizer(tmp_path)


def test_a_model_with_code_of_its_own_is_told(tmp_path: Path) -> None:
    settings = {"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.MyConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "configuration_mine.py").write_text("raise SystemExit", encoding="utf-8")

    with pytest.raises(ModelError, match=r"the model of .* is code of its own .* never executes; give"):
        load_pretrained(AutoConfig, tmp_path, "model")


def test_a_package_that_a_tokenizer_needs_is_told(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("가\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")

    with pytest.raises(ModelError, match=r"needs a package that is not installed: .*fugashi"):
        load_tokenizer(tmp_path)
