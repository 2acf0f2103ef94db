"""A worker without a supervisor, as a scheduler starts it; an encoder from a folder, loaded as one from the hub is."""

import json
import os
import sqlite3
import subprocess
import time
import uuid
from contextlib import closing
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
from transformers import ElectraConfig, ElectraModel

from foldrace.studies.loading import load
from foldrace.trainer.data.examples import read_training
from foldrace.trainer.data.tokenizer import build_tokenizer
from tests.support.commands import SMALL_RUN, Command, begin_foldrace, foldrace_in, quicken_heart, wait_for_end

SEARCHED = ("first_cycle_ratio", "gamma", "min_lr", "warmup_ratio", "label_smoothing", "dropout")


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A small ELECTRA without a classifier, and its tokenizer, saved as KoELECTRA is."""
    folder = tmp_path / "encoder"
    sentences = [row.sentence for row in read_training(load("demo").data).rows]
    tokenizer = build_tokenizer("tiny", sentences, [])
    sizes = {"hidden_size": 32, "embedding_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    config = ElectraConfig(vocab_size=len(tokenizer), num_hidden_layers=2, **sizes)
    ElectraModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def begin_and_wait(folder: Path, words: str, *arguments: str) -> ForkProcess:
    """A command that has said these words."""
    log = folder / f"log-{uuid.uuid4().hex}.txt"
    with log.open("w") as file:
        command = begin_foldrace(folder, arguments, file.fileno(), file.fileno(), quicken_heart)
    while words not in log.read_text(encoding="utf-8"):
        assert command.is_alive(), log.read_text(encoding="utf-8")
        time.sleep(0.05)
    return command


def test_the_first_worker_makes_the_study_and_ends_when_nothing_is_left(foldrace: Command, encoder: Path) -> None:
    told = foldrace("worker", "demo", *SMALL_RUN, "--set", f"model.name={encoder}", "--device", "cpu")

    assert told.returncode == 0, told.stderr
    state = json.loads(foldrace("status", "demo", "--json").stdout)
    assert state["trials"] == {"COMPLETE": 1}


def test_a_script_that_is_printed_works_where_it_is_submitted(foldrace: Command, tmp_path: Path) -> None:
    """Its study file is its own: neither a later script nor an edit of the user's file changes what it reads."""
    settings = (*SMALL_RUN, "--set", "search.storage=sqlite:///own.db", "--set", 'slurm.setup=["cd /"]')

    printed = foldrace("submit", "demo", "--slurm", "--print", *settings)
    later = foldrace("submit", "demo", "--slurm", "--print", *settings, "--set", "search.seed=5")

    assert printed.returncode == 0, printed.stderr
    assert "written   " in printed.stderr
    assert (tmp_path / "runs/demo/logs").is_dir()  # Slurm makes none
    assert not (tmp_path / "own.db").exists()
    assert later.stdout != printed.stdout
    ran = subprocess.run(["bash"], input=printed.stdout, capture_output=True, text=True, check=False, timeout=200)
    assert ran.returncode == 0, ran.stderr
    state = json.loads(foldrace("status", "demo", "--json").stdout)
    assert state["trials"] == {"COMPLETE": 1}


def test_a_script_that_is_printed_says_what_its_database_needs(foldrace: Command, tmp_path: Path) -> None:
    printed = foldrace("submit", "demo", "--slurm", "--print", "--set", "search.storage=workspace")

    starts = f"foldrace database start --host '*' --workspace {tmp_path / 'runs'}"
    assert f"database  before you submit it: {starts}" in printed.stderr.splitlines()
    assert not (tmp_path / "runs/.database").exists()
    secret = foldrace(
        "submit", "demo", "--slurm", "--print", "--set", "search.storage=postgresql+psycopg://me:word@here/x"
    )
    assert "the file holds no password: submit the script with FOLDRACE_STORAGE set" in secret.stderr
    assert "word@" not in secret.stdout + "".join(map(Path.read_text, tmp_path.glob("runs/demo/slurm/*.toml")))


def test_a_worker_that_should_end_in_an_outage_does_not_wait_for_the_database(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    long = ("--set", "training.epochs=40", "--set", "training.evaluations=1")  # it is stopped before it has a report
    settings = (*long, "--set", f"search.storage=sqlite:///{file}", "--device", "cpu")
    worker = begin_and_wait(tmp_path, "trial 0, attempt 1", "worker", "demo", *SMALL_RUN, *settings)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        worker.terminate()

        assert wait_for_end(worker, 120) == os.EX_TEMPFAIL  # it would wait for ten minutes
    assert list(tmp_path.glob("runs/demo/outages/*"))
    assert list(tmp_path.glob("runs/demo/trial-00000/fold-0/attempt-1/checkpoint-*"))


def test_workers_join_a_final_job_and_one_that_is_killed_is_replaced(tmp_path: Path) -> None:
    fixed = [
        "--set=training.epochs=2",
        "--set=training.evaluations=2",
        *(f"--set=training.{knob}=0.1" for knob in SEARCHED),
        "--set=final.folds=2",
    ]
    quick = ["--set", "search.lease_seconds=4", "--set", "search.checkpoint_minutes=0.005"]
    command = ["worker", "--final", "demo", "--device", "cpu", *fixed, *quick]
    killed = begin_and_wait(tmp_path, "trial 0, attempt 1: fold 0, seed 77", *command)
    killed.kill()
    killed.join()

    other = begin_and_wait(tmp_path, "trial 0, attempt 2: fold 0", *command)
    status = wait_for_end(other, 120)
    told = foldrace_in(tmp_path, "final", "demo", *fixed)

    assert status == 0
    state = json.loads(foldrace_in(tmp_path, "status", "demo/final-1", "--json").stdout)
    assert state["trials"] == {"COMPLETE": 2}
    assert "submit    " in told.stdout
    assert "2fold_tiny1.csv" in told.stdout


def test_a_worker_of_a_study_that_is_still_searched_joins_no_final_job(foldrace: Command) -> None:
    told = foldrace("worker", "--final", "demo")

    assert told.returncode == 2
    assert "is still searched; export a trial first" in told.stderr
