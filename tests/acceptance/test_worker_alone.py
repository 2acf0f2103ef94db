"""A worker without a supervisor, as a scheduler starts it; an encoder from a folder, loaded as one from the hub is."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from transformers import ElectraConfig, ElectraModel

from foldrace.studies.loading import load
from foldrace.trainer.data.examples import read_training
from foldrace.trainer.data.tokenizer import build_tokenizer
from tests.support.commands import QUICK_HEART, SMALL_RUN, Command, foldrace_in

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


def test_the_first_worker_makes_the_study_and_ends_when_nothing_is_left(foldrace: Command, encoder: Path) -> None:
    told = foldrace("worker", "demo", *SMALL_RUN, "--set", f"model.name={encoder}", "--device", "cpu")

    assert told.returncode == 0, told.stderr
    state = json.loads(foldrace("status", "demo", "--json").stdout)
    assert state["trials"] == {"COMPLETE": 1}


def test_a_worker_that_should_end_in_an_outage_does_not_wait_for_the_database(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    long = ("--set", "training.epochs=40", "--set", "training.evaluations=1")  # it is stopped before it has a report
    settings = (*long, "--set", f"search.storage=sqlite:///{file}", "--device", "cpu")
    command = [sys.executable, "-m", "foldrace", "worker", "demo", *SMALL_RUN, *settings]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        assert any("trial 0, attempt 1" in line for line in worker.stderr)
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

            worker.send_signal(signal.SIGTERM)

            assert worker.wait(timeout=120) == os.EX_TEMPFAIL  # it would wait for ten minutes
    assert list(tmp_path.glob("runs/demo/outages/*"))
    assert list(tmp_path.glob("runs/demo/trial-00000/fold-0/attempt-1/checkpoint-*"))


def test_workers_join_a_final_job_and_one_that_is_killed_is_replaced(tmp_path: Path) -> None:
    fixed = ["--set", "training.epochs=2", *(f"--set=training.{knob}=0.1" for knob in SEARCHED), "--set=final.folds=2"]
    quick = ["--set", "search.lease_seconds=4", "--set", "search.checkpoint_minutes=0.005"]
    command = [sys.executable, "-c", QUICK_HEART, "worker", "--final", "demo", "--device", "cpu", *fixed, *quick]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as killed:
        assert killed.stderr is not None
        assert any("trial 0, attempt 1: fold 0, seed 77" in line for line in killed.stderr)
        killed.kill()

    other = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    told = foldrace_in(tmp_path, "final", "demo", *fixed)

    assert other.returncode == 0, other.stderr
    assert "trial 0, attempt 2: fold 0" in other.stderr
    state = json.loads(foldrace_in(tmp_path, "status", "demo/final-1", "--json").stdout)
    assert state["trials"] == {"COMPLETE": 2}
    assert "submit    " in told.stdout
    assert "2fold_tiny1.csv" in told.stdout


def test_a_worker_of_a_study_that_is_still_searched_joins_no_final_job(foldrace: Command) -> None:
    told = foldrace("worker", "--final", "demo")

    assert told.returncode == 2
    assert "is still searched; export a trial first" in told.stderr
