"""`foldrace init`: the study file that it writes for data runs as it is, and nothing of the user's is overwritten."""

import shutil
from pathlib import Path

import pytest
from transformers import ElectraConfig

from foldrace.search.launch.data_files import find_data, study_name
from foldrace.search.launch.new_study import MOST_TRIALS, NewStudy, Plan, fit_to, new_study
from foldrace.search.launch.preflight import Preflight, TimeEstimate
from foldrace.search.workers.slots import slots
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import SHIPPED, load
from foldrace.studies.settings import Range
from foldrace.studies.study import StudyError
from foldrace.trainer.data.examples import read_training
from foldrace.trainer.data.formats import DataError
from foldrace.trainer.data.tokenizer import build_tokenizer
from foldrace.trainer.hub import ModelError
from foldrace.trainer.training_data import open_training_data

DEMO = SHIPPED / "demo"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the demo's data in `relations`, its longest sentence longer than others."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DEMO, tmp_path / "relations")
    return tmp_path


def init(source: str, minutes: float | None = None, output: str | None = None, model: str = "tiny") -> NewStudy:
    return new_study(Path(source), model, minutes, None if output is None else Path(output))


def test_a_folder_becomes_a_study_that_can_be_checked(here: Path) -> None:
    written = init("relations")

    study = load("relations.toml")
    data = open_training_data(study, Workspace(here / "runs", study.name))
    assert study.data == find_data(here / "relations")
    assert study.data.labels == here / "relations" / "label_type.json"
    assert study.searched.keys() > {"epochs", "dropout", "label_smoothing", "entity_marking"}
    assert "budget    24 trials" in str(Preflight(data, slots("cpu")))
    assert str(written).splitlines()[0] == "data      1250 rows, 11 labels: 관계_없음 24.6% ... 인물:사망일 4 rows"
    assert all(f"# {line}" in (here / "relations.toml").read_text(encoding="utf-8") for line in written.found)


def test_no_row_but_the_longest_is_cut(here: Path) -> None:
    length = init("relations").study.model.max_length

    data = open_training_data(load("relations.toml"), Workspace(here / "runs", "relations"))
    assert length < 64
    assert data.encoded("concat").truncated < len(data.examples.rows) / 100


def test_a_file_is_enough_and_what_lies_beside_it_is_found(here: Path) -> None:
    study = init("relations/train.tsv", output="mine").study

    assert (study.name, study.data.test) == ("mine", here / "relations" / "test.tsv")
    (here / "relations" / "test.tsv").unlink()
    assert "# test = " in init("relations/train.tsv", output="alone.toml").path.read_text(encoding="utf-8")


def test_few_rows_get_fewer_folds(here: Path) -> None:
    rows = (DEMO / "train.tsv").read_text(encoding="utf-8").splitlines()
    (here / "few.tsv").write_text("\n".join(rows[:9]), encoding="utf-8")

    study = init("few.tsv").study

    assert (study.folds.count, study.final.folds) == (2, 2)


def test_the_time_rules_the_trials_then_the_folds_then_the_epochs() -> None:
    places = slots("cpu")
    estimate = TimeEstimate(1000.0, "fp32", fold_epochs=3600.0, hours=float(len(places)))  # a second each, together
    plans = [fit_to(minutes, estimate, Plan(), places)[0] for minutes in (1e6, 10, 5, 2.5)]

    shapes = [(plan.trials, plan.folds, plan.low_epochs, plan.high_epochs) for plan in plans]
    assert shapes == [(MOST_TRIALS, 5, 6, 16), (21, 5, 6, 16), (18, 3, 6, 16), (18, 3, 3, 8)]
    with pytest.raises(StudyError, match=r"--minutes 0\.001: too short for a search; 8 trials of 3 folds take about"):
        fit_to(0.001, estimate, Plan(), places)


def test_a_few_steps_are_timed_where_a_time_is_given(here: Path) -> None:
    written = init("relations", minutes=1e6)

    assert load("relations.toml").search.trials == MOST_TRIALS
    assert written.found[-1].startswith("time      the search takes about ")
    assert f"# {written.found[-1]}\n" in written.path.read_text(encoding="utf-8")


def test_an_encoder_is_searched_around_its_learning_rate(here: Path) -> None:
    sentences = [example.sentence for example in read_training(find_data(here / "relations")).rows]
    tokenizer = build_tokenizer("tiny", sentences, [])
    tokenizer.save_pretrained(here / "encoder")
    ElectraConfig(vocab_size=len(tokenizer), max_position_embeddings=40).save_pretrained(here / "encoder")

    lr = init("relations", output="large.toml", model="encoder").study.searched["lr"]

    assert isinstance(lr, Range)
    assert (lr.low, lr.high, lr.log) == (2e-5, 1e-4, True)
    assert load("large.toml").model.name == str(here / "encoder"), "found from any folder"
    assert load("large.toml").model.max_length == 32, "no more than it has positions"


def test_labels_too_rare_for_the_folds_can_be_left_out(here: Path) -> None:
    text = init("relations").path.read_text(encoding="utf-8")
    Path("without.toml").write_text(text.replace("# exclude_labels", "exclude_labels"), encoding="utf-8")

    data = open_training_data(load("without.toml"), Workspace(here / "runs", "without"))
    assert data.study.data.exclude_labels == ("인물:사망일",)
    assert not data.plan(5, data.study.folds.seed).pinned_labels


def test_no_file_is_overwritten(here: Path) -> None:
    (here / "relations.toml").write_text("mine", encoding="utf-8")

    with pytest.raises(StudyError, match=r"relations\.toml: is there already; --output"):
        init("relations")
    assert (here / "relations.toml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("source", "options", "line"),
    [
        ("nowhere", {}, "nowhere: no such file or folder"),
        (".", {}, "no training file there"),
        ("relations/test_labels.csv", {}, "column text: missing from the header"),
        ("plain.csv", {}, "call it text, or give --column text=NAME; of a relation: "),
        ("unlabelled.csv", {}, "or --column label=NAME that names it"),
        ("relations", {"minutes": 0}, "--minutes 0: expected a number above 0"),
        ("relations", {"minutes": float("nan")}, "--minutes nan: expected a number above 0"),
        ("relations", {"minutes": float("inf")}, "--minutes inf: expected a number above 0"),
        ("relations", {"model": "./none"}, "no folder ./none; give one that save_pretrained wrote: --model FOLDER"),
        ("relations", {"output": "study.txt"}, "--output study.txt: expected NAME.toml"),
        ("relations", {"output": "관계.toml"}, "--output 관계.toml: expected NAME.toml"),
    ],
)
def test_what_cannot_be_is_one_line(here: Path, source: str, options: dict[str, object], line: str) -> None:
    Path("plain.csv").write_text("내용,label\n가,x\n", encoding="utf-8")
    Path("unlabelled.csv").write_text("text,분류\n가,x\n", encoding="utf-8")

    with pytest.raises((StudyError, DataError, ModelError)) as refused:
        init(source, **options)  # type: ignore[arg-type]

    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(here.glob("*.toml"))


def test_two_training_files_are_told(here: Path) -> None:
    shutil.copy("relations/train.tsv", "relations/train.csv")

    with pytest.raises(StudyError, match=r"relations: train\.csv and train\.tsv may both be the train rows"):
        init("relations")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("relations/train.csv", "relations"),
        ("relations/train_ko.csv", "ko"),
        ("a b/train.csv", "a-b"),
        ("관계/train.csv", "study"),
        ("x/news.tsv", "news"),
    ],
)
def test_a_study_is_called_after_its_data(here: Path, file: str, name: str) -> None:
    place = here / file
    place.parent.mkdir(exist_ok=True)
    place.touch()

    assert study_name(find_data(place)) == name
