"""Damaged, missing, swapped or foreign files of a run are named in one line, and never silently give another result."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from foldrace.errors import FoldraceError
from foldrace.search.ensemble.job import FinalError, FinalJob, find_final_job, queue_final_job
from foldrace.search.ensemble.outcome import open_outcome
from foldrace.search.ensemble.predict import predict_rows
from foldrace.search.ensemble.result import make_ensemble
from foldrace.search.study_store import FinalFold
from foldrace.storage.database import Database
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import load
from foldrace.trainer.data.folds import FoldError
from foldrace.trainer.hub import ModelError
from foldrace.trainer.results import RESULT_FILE, ResultError, load_result
from foldrace.trainer.training_data import TrainingData, open_training_data
from tests.support.final_jobs import leave_results

ROWS = ["[S:PER]이순신[/S]은 [O:LOC]조선[/O]의 장수다."]
Damage = Callable[[Path], object]


def zero_half(path: Path) -> None:
    """The second half of a file, as a disk that lost it gives it back."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def write(text: str) -> Damage:
    return lambda path: path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinalJob:
    """A final job of two folds, with models that were never trained."""
    folder = tmp_path_factory.mktemp("finished")
    demo = load("demo", ["final.folds=2"])
    with closing(Database.open(f"sqlite:///{folder}/study.db")) as database:
        job = queue_final_job(demo.with_fixed(demo.search.baseline[0]), database, Workspace(folder, "demo"))
    data = open_training_data(job.study, job.workspace)
    leave_results(job, data, with_models=True)
    make_ensemble(job, data)
    return job


@pytest.fixture
def job(tmp_path: Path, finished: FinalJob) -> FinalJob:
    """A copy of the finished job, to damage."""
    shutil.copytree(finished.workspace.root, tmp_path, dirs_exist_ok=True)
    return FinalJob(finished.study, finished.number, Workspace(tmp_path, "demo"))


def opened(job: FinalJob) -> TrainingData:
    return open_training_data(job.study, job.workspace)


def test_what_is_whole_predicts_and_is_complete(job: FinalJob) -> None:
    assert predict_rows(job.folder, ROWS, "cpu").votes.shape == (1, len(opened(job).examples.labels.names))
    assert job.missing == []
    open_outcome(job.folder)


@pytest.mark.parametrize("damage", [zero_half, truncate, Path.unlink, make_folder, write("{}")])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer_config.json"])
def test_a_damaged_model_is_refused_and_trained_again(job: FinalJob, name: str, damage: Damage) -> None:
    fold = job.folds[1]
    path = job.fold_folder(fold) / "model" / name
    damage(path)

    with pytest.raises(FinalError, match=rf"^{path}: (missing|damaged).*run the final job again$"):
        predict_rows(job.folder, ROWS, "cpu")
    assert job.missing == [fold]


def test_models_that_are_swapped_or_of_another_run_are_refused_and_trained_again(job: FinalJob) -> None:
    first, second = (job.fold_folder(fold) / "model" for fold in job.folds)
    shutil.move(first, first.with_name("other"))
    shutil.move(second, first)
    shutil.move(first.with_name("other"), second)

    with pytest.raises(FinalError, match=r"model\.safetensors: damaged, or of another run or fold"):
        predict_rows(job.folder, ROWS, "cpu")
    assert job.missing == job.folds


def other_metadata(described: str) -> Damage:
    return lambda path: save_file(load_file(path), path, {"described": described})


def with_nan(path: Path) -> None:
    """As an older version, which stored no digest, might have left it."""
    arrays = load_file(path)
    arrays["probabilities"][0] = np.nan
    save_file(arrays, path, {"described": described_in(path)})


def described_in(path: Path) -> str:
    found = path.read_bytes()
    header = json.loads(found[8 : 8 + int.from_bytes(found[:8], "little")])
    return str(header["__metadata__"]["described"])


RESULTS: list[Damage] = [
    *(zero_half, truncate, Path.unlink, make_folder, with_nan),
    *map(other_metadata, ["[]", "{}", "null", '{"task": "a", "curve": [1], "about": {}}', "[" * 100_000]),
]


@pytest.mark.parametrize("damage", RESULTS)
def test_a_damaged_result_is_named_and_trained_again(job: FinalJob, damage: Damage) -> None:
    fold = job.folds[0]
    path = job.fold_folder(fold) / RESULT_FILE
    damage(path)

    with pytest.raises(ResultError, match=rf"^{path}: "):
        load_result(path.parent)
    assert job.missing == [fold]


def test_results_that_are_swapped_are_refused(job: FinalJob) -> None:
    first, second = (job.fold_folder(fold) / RESULT_FILE for fold in job.folds)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)

    assert job.missing == job.folds  # their models are not theirs
    with pytest.raises(FinalError, match="not the result of this fold of this data"):
        open_outcome(job.folder)


def test_a_result_without_digests_is_read(job: FinalJob) -> None:
    path = job.fold_folder(FinalFold(0, job.study.final.seeds[0])) / RESULT_FILE
    described = {key: value for key, value in json.loads(described_in(path)).items() if key != "model"}
    other_metadata(json.dumps(described))(path)

    assert load_result(path.parent).model == {}
    assert job.missing == []


SUMMARIES: list[Damage] = [
    *(zero_half, truncate, make_folder),
    *map(write, ["[]", '{"seeds": 1, "submission": "a"}', '{"seeds": [1]}', "NaN", "[" * 100_000, ""]),
]


@pytest.mark.parametrize("damage", SUMMARIES)
def test_a_damaged_summary_is_named(job: FinalJob, damage: Damage) -> None:
    damage(job.folder / "ensemble.json")

    for act in (lambda: predict_rows(job.folder, ROWS, "cpu"), lambda: open_outcome(job.folder)):
        with pytest.raises(FinalError, match=rf"^{job.folder}/ensemble.json: not the summary of an ensemble; "):
            act()


@pytest.mark.parametrize("name", ["added_tokens.json", "adapter_config.json", "pytorch_model.bin", "modeling.py"])
def test_a_file_that_was_put_beside_a_model_or_the_tokenizer_is_refused(job: FinalJob, name: str) -> None:
    tokenizer = opened(job).folder / "tokenizer"
    for folder in (tokenizer, job.fold_folder(job.folds[1]) / "model"):
        (folder / ".DS_Store").touch()  # no library reads it
        (folder / name).write_text("{}")
        with pytest.raises(FoldraceError, match=rf"^{folder / name}: was put there later; remove it$"):
            opened(job) if folder == tokenizer else predict_rows(job.folder, ROWS, "cpu")
        (folder / name).unlink()
    predict_rows(job.folder, ROWS, "cpu")
    assert job.missing == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(path.read_text().replace("max_length = ", "max_length = 1")),
        lambda path: path.write_text(path.read_text().replace('vote = "soft"', 'vote = "hard"') + "\n"),
        lambda path: path.write_text(path.read_text().replace("epochs = ", "epochs = 1")),
        Path.unlink,
    ],
)
def test_a_study_file_that_was_changed_by_hand_is_refused(job: FinalJob, damage: Damage) -> None:
    path = job.folder / "study.toml"
    damage(path)
    for act in (lambda: predict_rows(job.folder, ROWS, "cpu"), lambda: open_outcome(job.folder)):
        with pytest.raises(FoldraceError, match=rf"^{path}: (was changed since the ensemble was made|cannot be read)"):
            act()


def test_the_ensemble_of_an_older_version_is_read(job: FinalJob) -> None:
    path = job.folder / "ensemble.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in known.items() if name not in ("study", "models")}))
    (job.folder / "study.toml").write_text((job.folder / "study.toml").read_text() + "\n")
    (job.fold_folder(job.folds[0]) / "model" / "added.txt").touch()

    open_outcome(job.folder)
    predict_rows(job.folder, ROWS, "cpu")


@pytest.mark.parametrize("damage", [zero_half, truncate, Path.unlink, make_folder, write('{"a": 0, "b": 1}')])
def test_labels_of_another_run_are_refused(job: FinalJob, damage: Damage) -> None:
    damage(job.folder / "labels.json")

    with pytest.raises(FoldraceError, match=r"labels\.json"):
        predict_rows(job.folder, ROWS, "cpu")


@pytest.mark.parametrize("damage", [zero_half, truncate, Path.unlink, make_folder, write("{}")])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_tokenizer_that_is_not_the_run_s_is_refused_and_made_again(job: FinalJob, name: str, damage: Damage) -> None:
    path = opened(job).folder / "tokenizer" / name
    damage(path)

    with pytest.raises(ModelError, match=rf"^{path}: (missing|damaged).*; delete the folder {path.parent.parent}, "):
        opened(job)
    shutil.rmtree(path.parent.parent)
    assert opened(job).folder == path.parent.parent


@pytest.mark.parametrize("damage", [zero_half, truncate, make_folder, write("[]"), write("NaN"), write("[" * 100_000)])
def test_damaged_folds_are_refused(job: FinalJob, damage: Damage) -> None:
    data, seed = opened(job), job.study.final.seeds[0]
    path = data.folder / f"folds-2-seed-{seed}.json"
    damage(path)

    with pytest.raises(FoldError, match=rf"^{path}: "):
        data.plan(2, seed)


def test_folds_of_another_plan_are_refused(job: FinalJob) -> None:
    data, seed = opened(job), job.study.final.seeds[0]
    data.plan(3, seed)
    path = data.folder / f"folds-2-seed-{seed}.json"
    shutil.copy(data.folder / f"folds-3-seed-{seed}.json", path)

    with pytest.raises(FoldError, match=rf"^{path}: the plan of other folds"):
        data.plan(2, seed)


def test_a_run_goes_on_beside_a_damaged_final_job(job: FinalJob) -> None:
    """What lies in a final job's folder does not keep others from being found."""
    (job.folder / "ensemble.json").write_text("[]")
    with closing(Database.open(f"sqlite:///{job.workspace.root}/study.db")) as database:
        assert find_final_job(job.study, database, job.workspace).number == 1
