"""Trackers, each against its real library; and one that fails, which nobody but the log hears of."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from foldrace.storage.trackers.protocol import Record, TrackedStudy
from foldrace.storage.trackers.registry import OPENERS, PAUSE_SECONDS, Trackers
from foldrace.studies.study import Tracker
from foldrace.trainer.figures import DPI, new_figure, png

AVERAGE = "Result ACC : 2-fold val Total Average acc"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrackedStudy:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("NEPTUNE_DATA_DIRECTORY", "")  # so that what the tracker sets is undone
    return TrackedStudy("small", "fingerprint", tmp_path / "small")


@pytest.fixture
def record() -> Record:
    return Record(
        name="trial-00003",
        number=3,
        state="PRUNED",
        value=0.65,
        parameters={"lr": 1e-3, "epochs": 4},
        series={"0-th val_acc_score": [(10, 0.5), (20, 0.625)], "2-fold val best acc list": [(0, 0.625), (1, 0.75)]},
        values={AVERAGE: 0.6875},
        texts={"inference_file_path": "submissions/관계.csv", "reason": "<script>"},
        pictures={"curves": png(new_figure(1, 1, "관계"))},
    )


def test_neptune_keeps_an_offline_record(study: TrackedStudy, record: Record, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    Trackers(["neptune"], study).log(record)

    (log,) = (study.folder / "neptune" / "offline").glob("run__*/data-1.log")
    found = {"/".join(line["path"]): line for line in _json_lines(log) if "path" in line}
    assert [value["value"] for value in found["0-th val_acc_score"]["values"]] == [0.5, 0.625]
    assert (found["parameters/epochs"]["value"], found[AVERAGE]["value"]) == (4, 0.6875)
    assert found["inference_file_path"]["value"] == "submissions/관계.csv"
    assert found["figures/curves"]["type"] == "UploadFile"
    assert "the hosted service closed on 2026-03-05" in caplog.text


def test_mlflow_has_a_run_for_the_study_and_below_it_one_for_the_trial(study: TrackedStudy, record: Record) -> None:
    from mlflow import MlflowClient

    for _ in range(2):  # two workers: the second one finds what the first one made
        trackers = Trackers(["mlflow"], study)
        trackers.log(record)
        trackers.close()

    client = MlflowClient(tracking_uri=f"sqlite:///{study.folder.parent}/mlflow.db")
    experiment = client.get_experiment_by_name("foldrace")
    assert experiment is not None
    first, second, parent = sorted(
        client.search_runs([experiment.experiment_id]), key=lambda run: len(run.data.metrics)
    )[::-1]
    assert first.data.tags["mlflow.parentRunId"] == second.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (first.data.params["epochs"], first.data.metrics[AVERAGE], first.info.status) == ("4", 0.6875, "KILLED")
    history = client.get_metric_history(first.info.run_id, "0-th val_acc_score")
    assert [(point.step, point.value) for point in history] == [(10, 0.5), (20, 0.625)]
    assert [file.path for file in client.list_artifacts(first.info.run_id, "figures")] == ["figures/curves.png"]
    assert (parent.data.tags["mlflow.runName"], parent.info.status) == ("small", "FINISHED")


def test_tensorboard_reads_its_event_file(study: TrackedStudy, record: Record) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Trackers(["tensorboard"], study).log(record)

    read = EventAccumulator(str(study.folder / "tensorboard" / "trial-00003"))
    read.Reload()
    assert [(point.step, point.value) for point in read.Scalars("0-th val_acc_score")] == [(10, 0.5), (20, 0.625)]
    assert read.Scalars(AVERAGE)[0].value == 0.6875
    assert read.Images("figures/curves")[0].width == DPI
    assert read.Tensors("inference_file_path")[0].tensor_proto.string_val == ["submissions/관계.csv".encode()]


def test_every_tracker_that_a_study_may_choose_can_be_opened() -> None:
    assert OPENERS.keys() == {*get_args(Tracker)}


def test_a_missing_package_is_one_line(
    study: TrackedStudy, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "foldrace.storage.trackers.mlflow", raising=False)
    trackers = Trackers(["mlflow"], study)

    trackers.log(record)
    trackers.log(record)

    (line,) = caplog.messages
    assert line.startswith("tracker mlflow: its package cannot be imported")
    assert "pip install 'foldrace[mlflow]'" in line


def test_a_server_that_is_down_is_one_line_and_is_tried_again_later(
    study: TrackedStudy, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    caplog.set_level(logging.WARNING, "foldrace")
    now = [0.0]
    trackers = Trackers(["mlflow", "tensorboard"], study, lambda: now[0])

    trackers.log(record)
    trackers.log(record)
    now[0] = PAUSE_SECONDS
    trackers.log(record)

    lines = [one.getMessage() for one in caplog.records if one.name == "foldrace.tracking"]
    assert len(lines) == 2
    assert all(line.startswith("tracker mlflow: ") and "trial-00003 is not in it" in line for line in lines)
    assert "secret" not in caplog.text
    assert (study.folder / "tensorboard" / "trial-00003").is_dir()


def test_no_tracker_is_imported_unless_chosen(study: TrackedStudy, record: Record) -> None:
    Trackers([], study).log(record)

    assert not study.folder.exists()


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The operations of Neptune's log, which writes one JSON object after another."""
    decoder, text, found = json.JSONDecoder(), path.read_text(encoding="utf-8").strip("\0\n "), []
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value["obj"])
        text = text[end:].lstrip()
    return found


def test_neptune_says_nothing_of_its_own() -> None:
    imported = [sys.executable, "-c", "import foldrace.storage.trackers.neptune"]
    assert subprocess.run(imported, capture_output=True, check=True, timeout=120).stderr == b""
