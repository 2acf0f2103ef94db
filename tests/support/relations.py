"""Relations made by hand: rows of a data file, and examples."""

from pathlib import Path
from typing import Any

from foldrace.storage.workspace import Workspace
from foldrace.studies.study import Study
from foldrace.trainer.data.examples import Entity, Example
from foldrace.trainer.training.tasks import FoldTask
from foldrace.trainer.training_data import TrainingData, open_training_data

PEOPLE = ("이순신", "권율", "유성룡", "신립", "김시민", "곽재우")
GROUPS = ("의금부", "훈련원", "승문원", "사헌부")


def entity(sentence: str, text: str, type_: str | None) -> Entity:
    start = sentence.index(text)
    return Entity(text, start, start + len(text) - 1, type_)


def relation(sentence: str, subject: str, object_: str, label: int | None = None, types: str = "PER ORG") -> Example:
    """An example whose entities stand where their texts first occur."""
    first, second = types.split()
    return Example("0", sentence, entity(sentence, subject, first), entity(sentence, object_, second), label)


def write_relations(path: Path, rows: int = 24) -> Path:
    """A file of rows with the labels parents, children and member; KLUE's columns."""
    lines = ["id,sentence,subject_entity,object_entity,label"]
    for i in range(rows):
        one, other, group = PEOPLE[i % 6], PEOPLE[(i + 1 + i // 6) % 6], GROUPS[i % 4]
        kind = ("parents", "children", "member")[i % 3]
        object_ = group if kind == "member" else other
        sentence = f"{one}의 {i}번째 기록은 {object_}에 있다."
        cells = [_cell(sentence, one, "PER"), _cell(sentence, object_, "ORG" if kind == "member" else "PER")]
        lines.append(",".join([f"r{i}", sentence, *cells, kind]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def relation_data(folder: Path, **knobs: Any) -> TrainingData:
    """Those rows, opened by a study of two folds that trains for two epochs."""
    file = folder / "train.csv"
    data = {"train": file if file.exists() else write_relations(file), "inverse": {"parents": "children"}}
    training = {"entity_marking": "typed_markers", "batch_size": 4, "epochs": 2, "evaluations": 2} | knobs
    study = {"name": "s", "data": data, "training": training, "folds": {"count": 2, "oversample_minority": False}}
    return open_training_data(Study.model_validate(study), Workspace(folder, "s"))


def relation_task(folder: Path, **knobs: Any) -> FoldTask:
    """Their first fold."""
    data = relation_data(folder, **knobs)
    return data.task(data.study.defaults, data.plan(2, 77), 0, "cpu")


def _cell(sentence: str, text: str, type_: str) -> str:
    found = entity(sentence, text, type_)
    return f"\"{{'word': '{text}', 'start_idx': {found.start}, 'end_idx': {found.end}, 'type': '{type_}'}}\""
