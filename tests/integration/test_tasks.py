"""Texts and pairs of texts go the whole way, in one process: search, export, final job, submission, prediction."""

import csv
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import foldrace
from foldrace.search.ensemble.result import FinalResult, make_ensemble
from foldrace.search.launch.final import begin_final, check_final
from foldrace.search.launch.new_study import new_study
from foldrace.search.session import open_session
from foldrace.search.study_store import public_toml
from foldrace.search.workers.entrypoint import WorkerOptions, run_worker
from foldrace.storage.files.atomic import atomic_write
from foldrace.studies.loading import load
from foldrace.studies.study import Study, StudyError
from foldrace.trainer.data.examples import DataError
from foldrace.trainer.data.folds import FoldError
from foldrace.trainer.training_data import open_training_data

WORDS = {"날씨": ("비", "눈", "바람"), "경제": ("주가", "은행", "금리"), "운동": ("축구", "야구", "경기")}
SMALL = ("folds.count=2", "search.trials=2", "training.epochs=2", "training.evaluations=2", "final.folds=2")


def sentence(topic: str, drawn: random.Random) -> str:
    return f"{drawn.choice(WORDS[topic])} {drawn.choice(WORDS[topic])} 소식 {drawn.randint(0, 999)}"


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def texts(count: int, **more: Any) -> list[dict[str, Any]]:
    drawn, topics = random.Random(count), list(WORDS)
    rows = [(i, topics[i % 3]) for i in range(count)]
    return [{"index": i, "title": sentence(t, drawn), "topic": t, "user": f"u{i % 11}", **more} for i, t in rows]


def pairs(count: int) -> list[dict[str, Any]]:
    drawn, topics = random.Random(count), list(WORDS)
    rows = []
    for i in range(count):
        other = topics[(i + i % 2) % 3]
        both = {"question1": sentence(topics[i % 3], drawn), "question2": sentence(other, drawn)}
        rows.append({"id": f"q{i}", **both, "is_same": ["yes", "no"][i % 2]})
    return rows


def without(rows: Sequence[Mapping[str, Any]], *columns: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in columns} for row in rows]


def hand_in(file: Path, runs: Path, *overrides: str) -> FinalResult:
    """Search a study, export its best trial, train the final job, and make the ensemble."""
    study = load(file, SMALL)
    with open_session(study, runs) as session:
        run_worker(session, WorkerOptions("cpu"), lambda: False)
    foldrace.export(study, workspace=runs)
    final = load(runs / study.name / "final.toml", overrides)
    check_final(final)
    with open_session(final, runs) as session:
        job = begin_final(session)
        atomic_write(job.folder / "study.toml", public_toml(job.study))  # as `foldrace final` does
        run_worker(session, WorkerOptions("cpu", job="final-1"), lambda: False)
        return make_ensemble(job, open_training_data(job.study, job.workspace))


def test_texts_in_groups_are_handed_in_like_a_sample(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", texts(60))
    write(tmp_path / "test.csv", without(texts(9), "topic", "user"))
    sample = write(tmp_path / "sample_submission.csv", [{"index": i, "topic": ""} for i in reversed(range(9))])
    columns = {"label": "topic", "group": "user"}
    found = new_study(train, "tiny", None, tmp_path / "topics.toml", columns)

    result = hand_in(tmp_path / "topics.toml", tmp_path / "runs", f"final.submission={sample}")

    assert found.found[0].startswith("data      60 texts, 3 labels")
    header, *rows = result.submission.read_text(encoding="utf-8").splitlines()
    assert header == "index,topic"
    assert [row.split(",")[0] for row in rows] == [str(i) for i in reversed(range(9))]
    assert {row.split(",")[1] for row in rows} <= set(WORDS)
    folder = tmp_path / "runs/topics/final-1"
    answers = foldrace.predict(folder, [row["title"] for row in texts(9)])
    assert answers["label"].tolist() == [row.split(",")[1] for row in reversed(rows)]
    foldrace.report(folder)
    assert ">text</th>" in (folder / "report.html").read_text(encoding="utf-8")
    plan = next((tmp_path / "runs/topics").glob("data-*/folds-2-*.json")).read_text(encoding="utf-8")
    fold_of = dict(zip(range(60), json.loads(plan)["fold"], strict=True))
    assert all(len({fold_of[i] for i in range(60) if i % 11 == user}) == 1 for user in range(11))


def test_pairs_are_searched_trained_and_predicted(tmp_path: Path) -> None:
    rows = pairs(48)
    write(tmp_path / "train.csv", rows)
    write(tmp_path / "test.csv", without(pairs(6), "is_same"))
    new_study(tmp_path, "tiny", None, tmp_path / "same.toml", {"label": "is_same"})

    result = hand_in(tmp_path / "same.toml", tmp_path / "runs")

    header, *lines = result.submission.read_text(encoding="utf-8").splitlines()
    assert header == "id,label"
    asked = [(row["question1"], row["question2"]) for row in pairs(6)]
    answers = foldrace.predict(tmp_path / "runs/same/final-1", asked)
    assert lines == [f"q{i},{label}" for i, label in enumerate(answers["label"])]


def test_the_folds_of_a_column_are_those_that_are_trained(tmp_path: Path) -> None:
    rows = [row | {"kfold": i % 2} for i, row in enumerate(texts(40))]
    write(tmp_path / "train.csv", rows)
    study = load_study(tmp_path, columns={"label": "topic", "fold": "kfold"})

    with open_session(study, tmp_path / "runs") as session:
        data = open_training_data(study, session.workspace)

    assert data.plan(2, 77).validation(1).tolist() == list(range(1, 40, 2))
    with pytest.raises(FoldError, match=r"data\.columns\.fold: 2 folds"):
        data.plan(8, 77)


@pytest.mark.parametrize("marking", ["typed_markers", {"choices": ["none", "concat"]}])
def test_entities_that_the_rows_do_not_have_cannot_be_marked(tmp_path: Path, marking: object) -> None:
    write(tmp_path / "train.csv", texts(40))
    study = load_study(tmp_path, columns={"label": "topic"}, marking=marking)

    with open_session(study, tmp_path / "runs") as session, pytest.raises(DataError, match=r"training\.entity_marking"):
        open_training_data(study, session.workspace)


def test_rows_of_one_label_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", [row | {"topic": "날씨"} for row in texts(40)])
    study = load_study(tmp_path, columns={"label": "topic"})
    one = r"train\.csv: all rows have the label '날씨'; training needs rows of two labels at least"

    with open_session(study, tmp_path / "runs") as session, pytest.raises(DataError, match=one):
        run_worker(session, WorkerOptions("cpu"), lambda: False)
    with pytest.raises(DataError, match=one):
        new_study(train, "tiny", None, tmp_path / "x.toml", {"label": "topic"})


def test_init_takes_as_many_folds_as_a_column_gives(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", [row | {"kfold": i % 4} for i, row in enumerate(texts(40))])

    found = new_study(train, "tiny", None, tmp_path / "x.toml", {"label": "topic", "fold": "kfold"})

    assert (found.study.folds.count, found.study.final.folds) == (4, 4)


@pytest.mark.parametrize("pooling", ["entities", {"choices": ["mean", "entities"]}])
def test_entities_that_the_rows_do_not_have_cannot_be_pooled(tmp_path: Path, pooling: object) -> None:
    write(tmp_path / "train.csv", texts(40))
    study = load_study(tmp_path, columns={"label": "topic"}, marking="typed_markers", pooling=pooling)

    with open_session(study, tmp_path / "runs") as session, pytest.raises(DataError) as refused:
        open_training_data(study, session.workspace)

    assert str(refused.value).startswith("training.pooling: the rows are texts, which have no entities; take")


def load_study(folder: Path, columns: Mapping[str, str], marking: object = "none", pooling: object = "first") -> Study:
    data = {"train": folder / "train.csv", "columns": columns}
    training = {"entity_marking": marking, "pooling": pooling}
    return Study.model_validate({"name": "small", "data": data, "folds": {"count": 2}, "training": training})


def test_a_column_of_no_part_is_refused_by_init(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", texts(40))

    with pytest.raises(StudyError, match="--column lable=topic: expected one of id, text, pair, label, group, fold"):
        new_study(train, "tiny", None, tmp_path / "x.toml", {"lable": "topic"})
