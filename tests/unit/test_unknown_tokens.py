"""Data whose tokens the model's tokenizer does not know is told and refused, with the reason."""

import json
from pathlib import Path

import pytest
from transformers import BertConfig

from foldrace.storage.workspace import Workspace
from foldrace.studies.identity import Identity
from foldrace.studies.loading import load
from foldrace.studies.study import Study
from foldrace.trainer.data.encoding import encode, unknown_share
from foldrace.trainer.data.examples import DataError, read_training
from foldrace.trainer.data.tokenizer import build_tokenizer
from foldrace.trainer.training_data import open_training_data

DEMO = load("demo")
ROWS = read_training(DEMO.data).rows
SYLLABLES = sorted({character for row in ROWS for character in row.sentence if not character.isspace()})


def folder(path: Path, prefix: str = "", lowers: bool = False) -> Path:
    """A BERT whose vocabulary has every character of the demo, each behind `prefix` too."""
    BertConfig(vocab_size=3000).save_pretrained(path)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(prefix + c for c in SYLLABLES)]
    pieces += [] if prefix else [f"##{c}" for c in SYLLABLES]
    (path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": lowers}
    (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return path


def with_model(name: Path, **data: float) -> Study:
    updated = {"model": DEMO.model.model_copy(update={"name": str(name)}), "data": DEMO.data.model_copy(update=data)}
    return DEMO.model_copy(update=updated)


def test_a_vocabulary_of_the_text_knows_all_of_it(tmp_path: Path) -> None:
    data = open_training_data(with_model(folder(tmp_path / "bert")), Workspace(tmp_path, "run"))

    data.refuse_unknown()
    assert data.describe_unknown() == "0.0% unknown (0.0% in the test rows)"


@pytest.mark.parametrize(
    ("prefix", "lowers", "reason"),
    [
        ("▁", False, "its vocab.txt holds SentencePiece pieces; give a folder with the SentencePiece model itself"),
        ("", True, "it takes Hangul apart; set do_lower_case = false in the model's tokenizer_config.json"),
        ("q", False, "its vocabulary is not one of this text"),
    ],
)
def test_a_vocabulary_of_other_pieces_is_refused_unless_it_is_allowed(
    prefix: str, lowers: bool, reason: str, tmp_path: Path
) -> None:
    model = folder(tmp_path / "bert", prefix, lowers)
    data = open_training_data(with_model(model), Workspace(tmp_path, "run"))

    with pytest.raises(
        DataError, match=rf"train\.tsv: [0-9.]+% of its tokens are unknown .*: {reason}; --set data\.max_"
    ):
        data.refuse_unknown()
    open_training_data(with_model(model, max_unknown=1.0), Workspace(tmp_path, "run")).refuse_unknown()


def test_unknown_test_rows_are_refused_too(tmp_path: Path) -> None:
    test = tmp_path / "test.tsv"
    test.write_text("0\tℵℶ ℷℸ ℵℶ\tℵℶ\t0\t1\tℷℸ\t3\t4\tblind\n", encoding="utf-8")
    study = with_model(folder(tmp_path / "bert")).model_copy(
        update={"data": DEMO.data.model_copy(update={"test": test})}
    )

    with pytest.raises(DataError, match=r"test\.tsv: 100\.0% of its tokens are unknown"):
        open_training_data(study, Workspace(tmp_path, "run")).refuse_unknown()


@pytest.mark.parametrize(("prefix", "share"), [("", 0.0), ("q", 1.0)])
def test_special_tokens_do_not_count(prefix: str, share: float, tmp_path: Path) -> None:
    tokenizer = build_tokenizer(str(folder(tmp_path, prefix)), (), ["[S]", "[/S]", "[O]", "[/O]"])

    assert unknown_share(encode(ROWS[:5], tokenizer, "typed_markers", 512), tokenizer) == share


def test_the_limit_is_no_part_of_what_makes_a_study_the_same() -> None:
    allowed = DEMO.model_copy(update={"data": DEMO.data.model_copy(update={"max_unknown": 0.5})})

    assert Identity.of(allowed) == Identity.of(DEMO)
