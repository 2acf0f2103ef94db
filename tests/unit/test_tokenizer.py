"""Tokenizers: trained for `tiny`, or loaded from a folder laid out as models on the hub are."""

import json
from pathlib import Path

import huggingface_hub.constants
import pytest
from transformers import ElectraConfig, PretrainedConfig, RobertaConfig

from foldrace.studies.loading import load
from foldrace.trainer import hub
from foldrace.trainer.data.examples import read_training
from foldrace.trainer.data.tokenizer import MIN_VOCABULARY, build_tokenizer, load_tokenizer
from foldrace.trainer.hub import ModelError
from tests.support.sentences import SENTENCES

MARKERS = ["[S:PER]", "[/S:PER]"]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SYLLABLES = [chr(0xAC00 + 28 * i) for i in range(100)]  # 가, 개, ...


def hub_folder(folder: Path, config: PretrainedConfig, pieces: list[str]) -> str:
    """A folder as KoELECTRA and KLUE's models are on the hub: a vocabulary in `vocab.txt`, no tokenizer.json."""
    config.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join([*SPECIALS, *pieces]) + "\n", encoding="utf-8")
    settings = {"do_lower_case": False, "model_max_length": 512, "tokenizer_class": "BertTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return str(folder)


def test_tiny_frames_what_it_reads() -> None:
    tokenizer = build_tokenizer("tiny", SENTENCES, MARKERS)

    encoded = tokenizer("한성", "이순신")

    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["[CLS]", "한성", "[SEP]", "이순신", "[SEP]"]
    assert encoded["token_type_ids"] == [0, 0, 0, 1, 1]


def test_tiny_keeps_hangul_composed_and_letters_as_they_are() -> None:
    tokenizer = build_tokenizer("tiny", ["가각간 NATO Café"], [])

    assert tokenizer.tokenize("가각간 NATO Café") == ["가각간", "NATO", "Café"]


def test_tiny_is_the_same_wherever_it_is_trained() -> None:
    sentences = [row.sentence for row in read_training(load("demo").data).rows]

    one, other = (build_tokenizer("tiny", sentences, MARKERS).get_vocab() for _ in range(2))

    assert one == other
    assert len(one) > 1000


@pytest.mark.parametrize("vocabulary", [115, 125])
def test_tiny_learns_as_many_pieces_as_it_may(vocabulary: int) -> None:
    tokenizer = build_tokenizer("tiny", SENTENCES, MARKERS, vocabulary)

    assert len(tokenizer) == vocabulary + len(MARKERS)


def test_a_vocabulary_without_a_place_for_every_character_is_refused() -> None:
    problem = r"^model\.vocabulary: 100 is too few: the rows have 54 different characters, which take 113 pieces; give"

    with pytest.raises(ModelError, match=problem):
        build_tokenizer("tiny", SENTENCES, MARKERS, 100)


def test_a_saved_tokenizer_gives_the_same_ids(tmp_path: Path) -> None:
    built = build_tokenizer("tiny", SENTENCES, MARKERS)
    built.save_pretrained(tmp_path)

    loaded = load_tokenizer(tmp_path)

    for text in (*SENTENCES, " [S:PER] 이순신 [/S:PER] 은", "모르는 글자 뷁"):
        assert dict(loaded(text, text)) == dict(built(text, text))
    assert len(loaded) == len(built)


@pytest.mark.parametrize("name", ["tiny", "folder"])
def test_markers_are_single_tokens(name: str, tmp_path: Path) -> None:
    folder = hub_folder(tmp_path, ElectraConfig(vocab_size=105), SYLLABLES)

    tokenizer = build_tokenizer(name if name == "tiny" else folder, SYLLABLES, MARKERS)

    assert tokenizer.tokenize("[S:PER]가[/S:PER]") == ["[S:PER]", "가", "[/S:PER]"]


def test_a_vocabulary_of_a_handful_is_refused(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path, ElectraConfig(vocab_size=5), [])

    with pytest.raises(
        ModelError, match=r"^model\.name: the tokenizer of .* has 5 pieces; its vocabulary did not load$"
    ):
        build_tokenizer(folder, SENTENCES, [])


def test_a_tiny_study_may_have_few_words() -> None:
    assert len(build_tokenizer("tiny", ["가 나"], [])) < MIN_VOCABULARY


def test_a_folder_with_a_vocabulary_alone_loads_as_koelectra_does(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path, ElectraConfig(vocab_size=105), SYLLABLES)

    tokenizer = build_tokenizer(folder, (), [])

    assert tokenizer.convert_ids_to_tokens(tokenizer("가 개")["input_ids"]) == ["[CLS]", "가", "개", "[SEP]"]
    assert "token_type_ids" in tokenizer.model_input_names


def test_segments_are_not_numbered_for_a_model_that_knows_of_one(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "klue-roberta", RobertaConfig(vocab_size=105, type_vocab_size=1), SYLLABLES)

    build_tokenizer(folder, (), MARKERS).save_pretrained(tmp_path / "saved")

    assert "token_type_ids" not in load_tokenizer(tmp_path / "saved")("가", "나")


def test_a_folder_without_a_tokenizer_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_tokenizer(tmp_path)

    message = str(caught.value)
    assert message.startswith(f"model.name: the folder {tmp_path} holds no tokenizer that loads")
    assert "\n" not in message


def test_a_damaged_tokenizer_is_one_clear_line(tmp_path: Path, tokenizer_folder: Path) -> None:
    for file in tokenizer_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:-20])

    with pytest.raises(ModelError, match="holds no tokenizer that loads"):
        load_tokenizer(tmp_path)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("offline", [True, False])
def test_an_unreachable_hub_is_told_within_seconds(offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    hub._hub_answers.cache_clear()

    with pytest.raises(ModelError) as caught:
        build_tokenizer("nobody/no-such-model", (), [])

    message = str(caught.value)
    assert message.startswith("model.name: no tokenizer 'nobody/no-such-model' here or on the hub (")
    assert message.endswith("download it elsewhere and give its folder: --set model.name=FOLDER")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["a/b/c", "model with spaces"])
def test_a_name_that_is_no_hub_name_is_one_clear_line(name: str) -> None:
    with pytest.raises(ModelError, match="here or on the hub") as caught:
        load_tokenizer(name)

    assert "\n" not in str(caught.value)


def test_a_name_that_is_nearly_tiny_may_mean_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub._hub_answers.cache_clear()

    for name, is_near in (("tinny", True), ("koelectra", False), ("prajjwal1/bert_tiny", False)):
        with pytest.raises(ModelError, match="here or on the hub") as caught:
            load_tokenizer(name)
        assert ("; did you mean tiny? without a connection, " in str(caught.value)) == is_near


@pytest.mark.parametrize("name", ["/no/such/folder", "./models", "~/koelectra"])
def test_a_folder_that_is_not_there_is_called_one(name: str) -> None:
    with pytest.raises(ModelError, match=f"^model.name: no folder {name}; .* --set model.name=FOLDER$"):
        load_tokenizer(name)
