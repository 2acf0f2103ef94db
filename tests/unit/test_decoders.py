"""Decoders and long encoders: what fills a row up, what stands between two texts, and how far they read."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModel, BigBirdConfig, GPT2Config, PretrainedConfig, XLNetConfig

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.data.encoding import encode
from foldrace.trainer.data.examples import Entity, Example
from foldrace.trainer.data.tokenizer import build_tokenizer, pad_id
from foldrace.trainer.hub import ModelError
from foldrace.trainer.modeling.classifier import ModelSource, build_model, check_source, longest_input
from tests.support.encoders import make_encoder
from tests.support.sentences import SENTENCES

RELATION = Example("0", "이순신은 한성에서", Entity("이순신", 0, 2, None), Entity("한성", 5, 6, None), None)
PAIR = Example("0", "이순신은", None, None, None, "한성에서")


@pytest.fixture(scope="module", params=["gpt2", "qwen3", "llama"])
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(request.param, SENTENCES, tmp_path_factory.mktemp("decoder") / request.param)


def copied(folder: Path, to: Path, **settings: dict[str, object]) -> str:
    """A copy of a model's folder, with other settings in the files of these names."""
    for one in folder.iterdir():
        (to / one.name).write_bytes(one.read_bytes())
    for name, others in settings.items():
        file = to / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | others), encoding="utf-8")
    return str(to)


def test_a_decoder_gets_a_padding_token_in_tokenizer_and_model(decoder: Path) -> None:
    tokenizer = build_tokenizer(str(decoder), (), ["[S]"])
    source = ModelSource(str(decoder), len(tokenizer), 3, 64)

    model = build_model(source, Hyperparameters(dropout=0.0), 0, pad_id(tokenizer))

    ends = {"gpt2": "<|endoftext|>", "qwen3": "<|endoftext|>", "llama": "<|end_of_text|>"}  # qwen3 has one of its own
    assert tokenizer.pad_token == ends[decoder.name]
    assert model.config.pad_token_id == tokenizer.pad_token_id
    row = torch.tensor(tokenizer(SENTENCES[0])["input_ids"])[None]
    longer = nn.functional.pad(row, (0, 7), value=pad_id(tokenizer))
    mask = nn.functional.pad(torch.ones_like(row), (0, 7))
    alone = model(input_ids=row, attention_mask=torch.ones_like(row)).logits
    torch.testing.assert_close(model(input_ids=longer, attention_mask=mask).logits, alone)


def test_the_padding_token_of_the_model_comes_before_the_end_of_a_text(decoder: Path, tmp_path: Path) -> None:
    folder = copied(decoder, tmp_path, config={"pad_token_id": 5}, tokenizer_config={"pad_token": None})

    assert build_tokenizer(folder, (), []).pad_token_id == 5


def test_a_tokenizer_without_any_token_for_padding_is_one_clear_line(decoder: Path, tmp_path: Path) -> None:
    folder = copied(decoder, tmp_path, tokenizer_config={"pad_token": None, "eos_token": None})

    with pytest.raises(
        ModelError, match=r"^model\.name: the tokenizer of .* has neither a pad_token .* nor an eos_token"
    ):
        build_tokenizer(folder, (), [])


def test_two_texts_of_a_decoder_stand_apart(decoder: Path) -> None:
    tokenizer = build_tokenizer(str(decoder), (), ["[S]"])
    end = tokenizer.eos_token

    texts = {
        name: tokenizer.decode(encode((example,), tokenizer, "concat", 64).ids.tolist())
        for name, example in (("relation", RELATION), ("pair", PAIR))
    }

    begin = "<|begin_of_text|>" if decoder.name == "llama" else ""
    between = begin or end
    assert texts["relation"] == f"{begin}이순신 {end} 한성{between}이순신은 한성에서"
    assert texts["pair"] == f"{begin}이순신은{between}한성에서"


def test_the_dropout_of_a_trial_lands_in_a_gpt2(tmp_path: Path) -> None:
    AutoModel.from_config(GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2)).save_pretrained(tmp_path)

    model = build_model(ModelSource(str(tmp_path), 60, 3, 64), Hyperparameters(dropout=0.37), 0, 1)

    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.37}


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_decoder_keeps_nothing_to_go_on_writing(decoder: Path, pooling: str) -> None:
    model = build_model(ModelSource(str(decoder), 400, 3, 64), Hyperparameters(pooling=pooling), 0, 1)

    assert not model.config.use_cache


@pytest.mark.parametrize(
    "config",
    [
        XLNetConfig(vocab_size=60, d_model=16, n_layer=1, n_head=2, d_inner=32),
    ],
)
def test_a_model_without_a_limit_reads_any_length(config: PretrainedConfig, tmp_path: Path) -> None:
    AutoModel.from_config(config).save_pretrained(tmp_path)
    source = ModelSource(str(tmp_path), 60, 3, 600)

    check_source(source)

    assert longest_input(source) is None
    ids = torch.randint(5, 60, (1, 600))
    assert build_model(source, Hyperparameters(), 0)(input_ids=ids, attention_mask=ids * 0 + 1).logits.shape == (1, 3)


def test_a_big_bird_attends_to_all_tokens_whatever_came_before(tmp_path: Path) -> None:
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "initializer_range": 0.1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    AutoModel.from_config(BigBirdConfig(vocab_size=60, block_size=4, **sizes)).save_pretrained(tmp_path)
    model = build_model(ModelSource(str(tmp_path), 60, 3, 200), Hyperparameters(dropout=0.0), 0)
    long = torch.randint(5, 60, (1, 200))

    before = model(input_ids=long).logits
    model(input_ids=long[:, :8])  # the sparse attention of a BigBird would give up here

    assert torch.equal(model(input_ids=long).logits, before)
