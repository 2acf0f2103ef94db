"""Models of every family in use, tiny and random: the trial's dropout, seeds, lengths, and folders of weights."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ElectraForPreTraining,
    ElectraForSequenceClassification,
    ElectraModel,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.data.batching import padded_length
from foldrace.trainer.data.tokenizer import load_tokenizer
from foldrace.trainer.hub import ModelError
from foldrace.trainer.modeling.classifier import ModelSource, build_model, check_source

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
ELECTRA = ElectraConfig(**SIZES, embedding_size=16)
FAMILIES: dict[str, PretrainedConfig] = {
    "electra": ELECTRA,
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**{**SIZES, "max_position_embeddings": 66}, type_vocab_size=1),
    "albert": AlbertConfig(**SIZES, embedding_size=16),
    "distilbert": DistilBertConfig(
        vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=64
    ),
}
TINY = ModelSource("tiny", 60, 3, 64)
IDS = torch.arange(5, 25)[None]


@pytest.fixture
def make_folder(tmp_path: Path) -> Any:
    """The folder of a checkpoint with random weights, without a classifier: what encoders on the hub are."""

    def make(config: PretrainedConfig, kind: Any = None) -> str:
        model = AutoModel.from_config(config) if kind is None else kind(config)
        model.save_pretrained(tmp_path)
        return str(tmp_path)

    return make


def source(name: str, vocabulary: int = 60, classes: int = 3, max_length: int = 32) -> ModelSource:
    return ModelSource(name, vocabulary, classes, max_length)


def same_weights(one: PreTrainedModel, other: PreTrainedModel) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in one.state_dict().items())


# Dropout


@pytest.mark.parametrize("family", FAMILIES)
def test_the_trials_dropout_lands_in_every_layer(family: str, make_folder: Any) -> None:
    model = build_model(source(make_folder(FAMILIES[family])), Hyperparameters(dropout=0.37), seed=0)

    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert set(rates.values()) == {0.37}
    assert any("attention" in name for name in rates)
    assert any("attention" not in name and name.startswith(model.base_model_prefix) for name in rates)
    assert any(not name.startswith(model.base_model_prefix) for name in rates)  # the classifier's


def test_dropout_zero_switches_it_off() -> None:
    model = build_model(TINY, Hyperparameters(dropout=0.0), seed=0)

    assert model.training
    assert torch.equal(model(input_ids=IDS).logits, model(input_ids=IDS).logits)


def test_dropout_changes_what_is_computed() -> None:
    model = build_model(TINY, Hyperparameters(dropout=0.3), seed=0)

    assert not torch.equal(model(input_ids=IDS).logits, model(input_ids=IDS).logits)


def test_a_new_tiny_tells_sentences_apart() -> None:
    model = build_model(ModelSource("tiny", 6000, 30, 128), Hyperparameters(), seed=0).eval()
    sentences = torch.randint(5, 6000, (64, 40), generator=torch.Generator().manual_seed(0))
    sentences[:, 0] = 2  # the first token, which the classifier reads, is the same in all

    with torch.inference_mode():
        logits = model(input_ids=sentences).logits

    assert logits.std(dim=0).mean() > 2e-3  # 2e-4 with BERT's spread of weights, made for a model six times as wide


# Seeds


def test_a_seed_decides_the_weights() -> None:
    torch.manual_seed(1)
    one = build_model(TINY, Hyperparameters(), seed=7)
    torch.manual_seed(2)

    assert same_weights(one, build_model(TINY, Hyperparameters(dropout=0.5), seed=7))
    assert not same_weights(one, build_model(TINY, Hyperparameters(), seed=8))


def test_a_seed_decides_the_new_weights_of_a_folder(make_folder: Any) -> None:
    folder = source(make_folder(ELECTRA), vocabulary=64)
    torch.manual_seed(1)
    one = build_model(folder, Hyperparameters(), seed=7)
    torch.manual_seed(2)

    assert same_weights(one, build_model(folder, Hyperparameters(), seed=7))
    other = build_model(folder, Hyperparameters(), seed=8)
    assert not torch.equal(one.classifier.out_proj.weight, other.classifier.out_proj.weight)


# Sizes


def test_embeddings_grow_for_markers_and_keep_their_weights(make_folder: Any) -> None:
    folder = make_folder(ELECTRA)
    before = AutoModel.from_pretrained(folder).get_input_embeddings().weight

    model = build_model(source(folder, vocabulary=64), Hyperparameters(), seed=0)

    after = model.get_input_embeddings().weight
    assert after.shape == (64, 16)
    assert torch.equal(after[:60], before)
    assert model.config.vocab_size == 64
    assert model(input_ids=torch.tensor([[63]])).logits.shape == (1, 3)


def test_embeddings_never_shrink(make_folder: Any) -> None:
    model = build_model(source(make_folder(ELECTRA), vocabulary=50), Hyperparameters(), seed=0)

    assert model.get_input_embeddings().num_embeddings == 60


@pytest.mark.parametrize("family", ["electra", "bert", "distilbert", "roberta"])
def test_max_length_is_held_against_the_positions(family: str, make_folder: Any) -> None:
    folder, positions = make_folder(FAMILIES[family]), 64
    longest, above = source(folder, max_length=positions), source(folder, max_length=positions + 1)

    check_source(longest)
    model = build_model(longest, Hyperparameters(), seed=0)
    assert model(input_ids=torch.full((1, positions), 7)).logits.shape == (1, 3)
    message = r"^model\.max_length: 65, padded to 72, is above the 64 positions of .*; ask for fewer$"
    with pytest.raises(ModelError, match=message):
        check_source(above)
    with pytest.raises(ModelError, match=message):
        build_model(above, Hyperparameters(), seed=0)


def test_tiny_grows_to_any_length() -> None:
    check_source(source("tiny", max_length=1001))

    model = build_model(source("tiny", max_length=1001), Hyperparameters(), seed=0)

    assert model(input_ids=torch.full((1, padded_length(1001)), 7)).logits.shape == (1, 3)


@pytest.mark.parametrize("family", ["electra", "bert", "roberta", "distilbert"])
def test_gradient_checkpointing_computes_the_same_gradients(family: str, make_folder: Any) -> None:
    folder = source(make_folder(FAMILIES[family]))
    gradients = []
    for checkpointing in (False, True):
        knobs = Hyperparameters(dropout=0.0, gradient_checkpointing=checkpointing)
        model = build_model(folder, knobs, seed=0)
        model(input_ids=IDS).logits.sum().backward()
        gradients.append(model.get_input_embeddings().weight.grad)

    assert torch.allclose(gradients[0], gradients[1])
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_gradient_checkpointing_is_refused_where_it_does_nothing(make_folder: Any) -> None:
    folder = source(make_folder(FAMILIES["albert"]))

    with pytest.raises(ModelError, match=r"^training\.gradient_checkpointing: .* is not made for it"):
        build_model(folder, Hyperparameters(gradient_checkpointing=True), seed=0)


# Folders of weights


@pytest.mark.parametrize("kind", [ElectraModel, ElectraForPreTraining])
def test_a_checkpoint_without_a_classifier_gets_one(kind: Any, make_folder: Any, tokenizer_folder: Path) -> None:
    folder = make_folder(ELECTRA, kind)
    tokenizer = load_tokenizer(tokenizer_folder)

    model = build_model(source(folder, vocabulary=len(tokenizer)), Hyperparameters(), seed=0)

    weights = AutoModel.from_pretrained(folder).encoder.layer[1].output.dense.weight
    assert torch.equal(model.electra.encoder.layer[1].output.dense.weight, weights)
    assert model(**tokenizer(["이순신 은"], return_tensors="pt")).logits.shape == (1, 3)
    assert model.training


def test_a_new_classifier_is_no_news(make_folder: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder(ELECTRA)
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.WARNING, "transformers")
    try:
        build_model(source(folder), Hyperparameters(), seed=0)
        assert caplog.records == []
        AutoModelForSequenceClassification.from_pretrained(folder)
        assert "MISSING" in caplog.text  # so the silence above was ours, and is over
    finally:
        logger.removeHandler(caplog.handler)


def test_loading_shows_no_progress_bar(make_folder: Any, capfd: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(ELECTRA)
    capfd.readouterr()

    build_model(source(folder), Hyperparameters(), seed=0)

    assert capfd.readouterr() == ("", "")


def test_weights_of_the_older_format_load(tmp_path: Path) -> None:
    saved = ElectraForPreTraining(ELECTRA)
    ELECTRA.save_pretrained(tmp_path)
    torch.save(saved.state_dict(), tmp_path / "pytorch_model.bin")

    model = build_model(source(str(tmp_path)), Hyperparameters(), seed=0)

    assert torch.equal(model.electra.embeddings.word_embeddings.weight, saved.electra.embeddings.word_embeddings.weight)


@pytest.mark.parametrize(("labels", "problem"), [(7, None), (3, "multi_label_classification"), (1, "regression")])
def test_a_classifier_of_another_task_is_replaced(labels: int, problem: str | None, tmp_path: Path) -> None:
    config = ElectraConfig(**SIZES, embedding_size=16, num_labels=labels, problem_type=problem)
    before = ElectraForSequenceClassification(config)
    before.save_pretrained(tmp_path)

    one, other = (build_model(source(str(tmp_path)), Hyperparameters(), seed=seed) for seed in (0, 1))

    assert one.classifier.out_proj.weight.shape == (3, 16)
    for head in (before.classifier, other.classifier):
        assert not torch.equal(one.classifier.out_proj.weight, head.out_proj.weight)
    assert one.classifier.out_proj.weight.std().item() == pytest.approx(0.02, rel=0.4)
    assert one.config.problem_type == "single_label_classification"
    assert torch.equal(one.electra.embeddings.word_embeddings.weight, before.electra.embeddings.word_embeddings.weight)


def test_weights_are_in_fp32_whatever_the_checkpoint_is_in(tmp_path: Path) -> None:
    ElectraModel(ELECTRA).half().save_pretrained(tmp_path)

    model = build_model(source(str(tmp_path)), Hyperparameters(), seed=0)

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_weights_of_fewer_layers_are_refused(tmp_path: Path) -> None:
    ElectraModel(ELECTRA).save_pretrained(tmp_path)
    ElectraConfig(**{**SIZES, "num_hidden_layers": 3}, embedding_size=16).save_pretrained(tmp_path)

    with pytest.raises(ModelError, match=r"do not fit its config.json: \d+ of \d+ tensors are missing, 0 have"):
        build_model(source(str(tmp_path)), Hyperparameters(), seed=0)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    AutoModel.from_config(FAMILIES["distilbert"]).save_pretrained(tmp_path)
    ELECTRA.save_pretrained(tmp_path)

    with pytest.raises(ModelError, match=r"do not fit its config.json: \d+ of \d+ tensors are missing"):
        build_model(source(str(tmp_path)), Hyperparameters(), seed=0)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    ElectraModel(ELECTRA).save_pretrained(tmp_path)
    ElectraConfig(**SIZES | {"vocab_size": 90}, embedding_size=16).save_pretrained(tmp_path)

    with pytest.raises(ModelError, match="1 have another shape"):
        build_model(source(str(tmp_path)), Hyperparameters(), seed=0)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_a_whole_model_is_one_clear_line(missing: str, make_folder: Any) -> None:
    folder = make_folder(ELECTRA)
    (Path(folder) / missing).unlink()

    with pytest.raises(ModelError, match="holds no model that loads") as caught:
        build_model(source(folder), Hyperparameters(), seed=0)

    assert "\n" not in str(caught.value)


def test_damaged_weights_are_one_clear_line(make_folder: Any) -> None:
    weights = Path(make_folder(ELECTRA)) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])

    with pytest.raises(ModelError, match="holds no model that loads"):
        build_model(source(str(weights.parent)), Hyperparameters(), seed=0)
