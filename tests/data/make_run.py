"""Write the run that this version leaves behind, for every later version to open: an archive of a whole folder.

    python tests/data/make_run.py foldrace-0.1.0.run.tar.xz     # with the Python of that version's environment

Run once for each release; what it wrote is committed and never written again. It calls only the commands, as a
user does. The folder holds the data, a small model, a complete trial, a trial that was let go in its second fold
with a checkpoint, and a finished final job of two folds with their models. Nothing of this machine is in it.
"""

import csv
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import ElectraConfig, ElectraForSequenceClassification, PreTrainedTokenizerFast

FOLDER = Path("/tmp/foldrace-run")  # the paths in the archive begin with it
COMMAND = Path(sys.executable).with_name("foldrace")
DEMO = Path(__file__).parents[2] / "studies" / "demo"
LABELS = ("관계_없음", "인물:소속단체", "인물:직함")
STUDY = """\
name = "old"

[data]
train = "train.tsv"
test = "test.tsv"

[model]
name = "model"
max_length = 64

[folds]
count = 2

[training]
lr = 2e-3
batch_size = 8
epochs = 200
gamma = { low = 0.4, high = 1.0 }
dropout = { low = 0.0, high = 0.3 }

[search]
trials = 2
pruner = "none"
checkpoint_minutes = 0
lease_seconds = 30

[search.baseline]
gamma = 1.0
dropout = 0.1

[final]
folds = 2
"""


def main() -> None:
    FOLDER.mkdir()
    texts = write_data()
    write_model(texts)
    (FOLDER / "old.toml").write_text(STUDY, encoding="utf-8")
    search()
    foldrace("export", "old")
    foldrace("final", "runs/old/final.toml", "--workers", "1")
    forget_machine()
    with tarfile.open(sys.argv[1], "w:xz", preset=9) as archive:
        archive.add(FOLDER, "run", filter=of_nobody)


def write_data() -> list[str]:
    """Some rows of the demo, those of the three labels alone; returns their sentences."""
    texts: list[str] = []
    for name, count in (("train", 64), ("test", 12)):
        with (DEMO / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter="\t") if row[-1] in (*LABELS, "blind")][:count]
        with (FOLDER / f"{name}.tsv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)
        texts += [row[1] for row in rows]
    return texts


def write_model(texts: Iterable[str]) -> None:
    """A model folder of a few thousand random weights: six files of weights must be small."""
    pieces = Tokenizer(models.WordPiece({}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special))
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, pieces.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=pieces, **names).save_pretrained(FOLDER / "model")
    config = ElectraConfig(
        vocab_size=pieces.get_vocab_size(),
        embedding_size=16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    ElectraForSequenceClassification(config).save_pretrained(FOLDER / "model")


def search() -> None:
    """One trial whole, and the next one let go in its second fold, when that has left a checkpoint."""
    running = subprocess.Popen([COMMAND, "run", "old.toml", "--workers", "1"], cwd=FOLDER, env=environment())
    while not list(FOLDER.glob("runs/old/trial-00001/fold-1/attempt-1/checkpoint-*")):
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    running.wait()


def foldrace(*arguments: str) -> None:
    subprocess.run([COMMAND, *arguments], cwd=FOLDER, env=environment(), check=True)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "FOLDRACE_STORAGE"}


def forget_machine() -> None:
    """Replace the name of this machine by another, in the database and in the logs."""
    host = socket.gethostname()
    with closing(sqlite3.connect(FOLDER / "runs" / "old" / "study.db")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        for table, column in text_columns(connection):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, 'a-host')", (host,))
        connection.commit()
        connection.execute("VACUUM")
    for file in (FOLDER / "runs" / "old").rglob("*.log"):
        file.write_text(file.read_text(encoding="utf-8").replace(host, "a-host"), encoding="utf-8")


def text_columns(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    query = """
        SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND (columns.type LIKE '%CHAR%' OR columns.type LIKE '%TEXT%')
    """
    return connection.execute(query).fetchall()


def of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """The member without its owner; no lock files."""
    if member.name.endswith(".lock"):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
