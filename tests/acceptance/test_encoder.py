"""An encoder from a folder, by commands: searched with its pooling, exported, trained, handed in, and asked again."""

from pathlib import Path

import foldrace
from foldrace.studies.data import Data
from foldrace.studies.demo.generator import labelled_rows
from foldrace.trainer.data.examples import read_training
from tests.support.commands import foldrace_in
from tests.support.encoders import make_encoder

STUDY = """
name = "re"
data = { train = "train.tsv", test = "test.tsv" }
model = { name = "klue-roberta", max_length = 128 }
folds = { count = 2 }
search = { trials = 1 }
final = { folds = 2, submission = "labels" }
training = { epochs = 1, evaluations = 1, entity_marking = "typed_markers", pooling = { choices = ["entities"] } }
"""


def test_a_roberta_with_pooled_entities_goes_from_a_study_to_a_submission(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_bytes(labelled_rows(1, 60)[0])
    (tmp_path / "test.tsv").write_bytes(labelled_rows(2, 9)[1])
    (tmp_path / "re.toml").write_text(STUDY, encoding="utf-8")
    sentences = [row.sentence for row in read_training(Data(train=tmp_path / "train.tsv")).rows]
    make_encoder("klue-roberta", sentences, tmp_path / "klue-roberta")

    for arguments in (
        ("run", "re.toml", "--workers", "1"),
        ("export", "re"),
        ("final", "runs/re/final.toml", "--workers", "1"),
    ):
        done = foldrace_in(tmp_path, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    header, *rows = next((tmp_path / "runs/re/submissions").glob("*/*.csv")).read_text(encoding="utf-8").splitlines()
    assert header == "id,label"
    answers = foldrace.predict(tmp_path / "runs/re/final-1", tmp_path / "test.tsv")
    assert [row.split(",")[1] for row in rows] == answers["label"].tolist()
