"""Rows of the training part are changed as the knobs say, and nothing else ever is."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from foldrace.storage.workspace import Workspace
from foldrace.studies.knobs import EntityMarking
from foldrace.studies.study import Study
from foldrace.trainer.augmentation.entities import EntityPool, swap
from foldrace.trainer.augmentation.inverse import inverse_classes
from foldrace.trainer.augmentation.noise import TokenNoise
from foldrace.trainer.data.batching import Tokens, TrainingPart
from foldrace.trainer.data.encoding import encode
from foldrace.trainer.data.examples import DataError, Example
from foldrace.trainer.data.labels import Labels
from foldrace.trainer.data.tokenizer import load_tokenizer
from foldrace.trainer.hub import ModelError
from foldrace.trainer.training.tasks import FoldTask
from foldrace.trainer.training_data import TrainingData, open_training_data
from tests.support.relations import relation, relation_data, relation_task

ROW = relation("이순신은 한성에서 태어나 노량에서 전사했다.", "이순신", "한성", label=1)
NESTED = relation("서울대학교 병원은 서울에 있다.", "서울대학교 병원", "서울대학교")
POOL = EntityPool((ROW, relation("권율은 나주에서", "권율", "나주"), relation("신립은 부산에서 왔다", "신립", "부산")))


def texts(example: Example) -> list[str]:
    """What stands at the spans of both entities."""
    return [example.sentence[one.start : one.end + 1] for one in example.entities]


# Entities


def test_a_swapped_row_has_its_entities_the_other_way() -> None:
    assert (swap(ROW).subject, swap(ROW).object) == (ROW.object, ROW.subject)
    assert swap(ROW).sentence == ROW.sentence


@pytest.mark.parametrize("example", [ROW, swap(ROW)], ids=["subject_first", "object_first"])
@pytest.mark.parametrize("draw", [0.0, 0.6, 0.999])
def test_both_spans_follow_a_replaced_entity(example: Example, draw: float) -> None:
    for role in ("subject", "object"):
        new = POOL.replace(example, role, draw)

        assert new.sentence != example.sentence
        assert texts(new) == [one.text for one in new.entities]
        assert [one.type for one in new.entities] == [one.type for one in example.entities]
        assert new.label == example.label


def test_a_replacement_has_the_type_of_its_entity_and_is_never_the_entity_itself() -> None:
    row = POOL.examples[2]
    found = {POOL.replace(row, "subject", draw).entities[0].text for draw in np.linspace(0, 0.999, 20)}

    assert found == {"권율", "이순신"}


def test_a_replacement_keeps_the_particle_behind_it_right() -> None:
    rows = (*POOL.examples, relation("원균은 이이에게", "이이", "원균"))  # 이이 ends in a vowel

    assert {EntityPool(rows).replace(ROW, "subject", draw).entities[0].text for draw in (0.0, 0.5, 0.99)} == {
        *("권율", "신립")
    }


def test_entities_that_overlap_or_have_no_other_stay() -> None:
    assert POOL.replace(NESTED, "subject", 0.5) is NESTED
    assert EntityPool((ROW,)).replace(ROW, "subject", 0.5) is ROW


# Inverse relations


def inverse_of(names: tuple[str, ...], inverse: Mapping[str, str] | None = None) -> dict[str, str]:
    data: dict[str, Any] = {"train": "train.csv"} if inverse is None else {"train": "train.csv", "inverse": inverse}
    labels = Labels(names, tuple(range(len(names))))
    found = inverse_classes(Study.model_validate({"name": "s", "data": data}).data, labels)
    return {names[one]: names[other] for one, other in found.items()}


def test_the_labels_of_klue_and_of_pstage_have_their_inverses() -> None:
    klue = ("no_relation", "per:parents", "per:children", "per:spouse", "org:member_of", "org:members", "per:title")
    pstage = ("관계_없음", "인물:부모님", "인물:자녀", "인물:배우자", "단체:모회사", "단체:자회사", "인물:학교")

    assert inverse_of(klue) == {
        **{"per:parents": "per:children", "per:children": "per:parents", "per:spouse": "per:spouse"},
        **{"org:member_of": "org:members", "org:members": "org:member_of"},
    }
    assert inverse_of(pstage) == {
        **{"인물:부모님": "인물:자녀", "인물:자녀": "인물:부모님", "인물:배우자": "인물:배우자"},
        **{"단체:모회사": "단체:자회사", "단체:자회사": "단체:모회사"},
    }


def test_a_label_whose_inverse_the_rows_do_not_have_has_none() -> None:
    assert inverse_of(("per:parents", "per:title")) == {}


def test_a_table_of_the_study_stands_for_the_shipped_one() -> None:
    names = ("per:parents", "per:children", "위", "아래")

    assert inverse_of(names, {"위": "아래"}) == {"위": "아래", "아래": "위"}


@pytest.mark.parametrize(
    ("inverse", "problem"),
    [
        ({"parents": "kids"}, r"^data\.inverse: no label 'kids' in train\.csv$"),
        ({"parents": "childern"}, r"^data\.inverse: no label 'childern' in train\.csv; did you mean children\?$"),
        ({"parents": "children", "member": "children"}, "'children' has two inverses, 'parents' and 'member'"),
    ],
)
def test_a_table_that_cannot_hold_is_refused(inverse: dict[str, str], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        inverse_of(("parents", "children", "member"), inverse)


# Tokens


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tokenizer_folder)


@pytest.mark.parametrize(
    ("marking", "length", "flagged"),
    [
        ("none", 64, "이순신은 한성에서"),
        ("concat", 64, "[CLS] 이순신 [SEP] 한성 [SEP] 이순신은 한성에서"),
        ("typed_markers", 64, "[S:PER] 이순신 [O:ORG] 한성"),
        ("typed_markers", 7, "[S:PER] 이순신 [O:ORG]"),
    ],
)
def test_the_tokens_of_entities_are_known(
    tokenizer: PreTrainedTokenizerBase, marking: EntityMarking, length: int, flagged: str
) -> None:
    tokens = encode((ROW,), tokenizer, marking, length, with_entities=True)

    assert tokens.of_entity is not None
    found = tokenizer.convert_ids_to_tokens(list(tokens.ids[tokens.of_entity]))
    assert [one for one in found if one != "[SEP]"] == [one for one in flagged.split() if one not in ("[CLS]", "[SEP]")]
    assert np.array_equal(tokens.ids, encode((ROW,), tokenizer, marking, length).ids)


TOKENS = Tokens(np.tile([2, 10, 11, 12, 13, 3], 400), None, np.arange(401) * 6, 0, np.tile([0, 1, 0, 0, 0, 0], 400) > 0)
FIXED = np.array([2, 3])


@pytest.mark.parametrize(("deletion", "masking"), [(0.3, 0.0), (0.0, 0.3), (0.2, 0.2), (0.99, 0.0)])
def test_noise_leaves_special_tokens_and_entities_and_changes_the_share_that_is_asked_for(
    deletion: float, masking: float
) -> None:
    noisy = TokenNoise(deletion, masking, 4, FIXED).apply(TOKENS, np.random.default_rng(0))

    rows = [noisy.ids[start:end].tolist() for start, end in zip(noisy.offsets[:-1], noisy.offsets[1:], strict=True)]
    assert all(row[0] == 2 and row[1] == 10 and row[-1] == 3 for row in rows)
    assert all(len(row) > 3 for row in rows)  # some of the text is left
    share = 1 - np.isin(noisy.ids, [11, 12, 13]).sum() / 1200
    if deletion < 0.9:
        assert share == pytest.approx(1 - (1 - deletion) * (1 - masking), abs=0.05)
    assert noisy.of_entity is not None
    assert np.array_equal(noisy.ids[noisy.of_entity], np.full(400, 10))


# The training part of an epoch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relations")


@pytest.fixture
def make_task(folder: Path) -> Callable[..., FoldTask]:
    return partial(relation_task, folder)


def rows_of(part: TrainingPart) -> list[tuple[list[int], int]]:
    """The tokens and the label of each row of an epoch."""
    bounds = zip(part.tokens.offsets[part.rows], part.tokens.offsets[part.rows + 1], strict=True)
    return [
        (part.tokens.ids[a:b].tolist(), int(label))
        for (a, b), label in zip(bounds, part.labels[part.rows], strict=True)
    ]


KNOBS = {"swap_entities": 0.5, "replace_entities": 0.5, "token_deletion": 0.2, "token_masking": 0.2}


@pytest.mark.parametrize("knob", KNOBS)
def test_an_epoch_follows_from_the_seed_the_fold_and_its_number(make_task: Callable[..., FoldTask], knob: str) -> None:
    first, again = make_task(**{knob: KNOBS[knob]}), make_task(**{knob: KNOBS[knob]})

    assert rows_of(first.part(3)) == rows_of(again.part(3))
    assert rows_of(first.part(3)) != rows_of(first.part(4))
    assert rows_of(first.part(0)) != rows_of(make_task().part(0))


def test_without_augmentation_an_epoch_is_the_training_part_itself(make_task: Callable[..., FoldTask]) -> None:
    task = make_task()
    part = task.part(1)

    assert task.augmentation is None
    assert (part.tokens, part.labels, part.rows) == (task.tokens, task.labels, task.training)


def changed(task: FoldTask) -> list[Example]:
    """The examples that an epoch has in place of rows of the study."""
    found = list[Example]()

    def kept(new: tuple[Example, ...]) -> Tokens:
        found.extend(new)
        return task.tokens

    assert task.augmentation is not None
    replace(task.augmentation, encode=kept).part(1, 1)
    return found


def test_rows_with_an_inverse_are_swapped_with_their_label_and_no_others_are(
    make_task: Callable[..., FoldTask], folder: Path
) -> None:
    task, examples = make_task(swap_entities=0.9999), relation_data(folder).examples
    parents, children = (examples.labels.index(name) for name in ("parents", "children"))
    before = [examples.rows[row] for row in task.training if examples.rows[row].label in (parents, children)]

    after = changed(task)

    assert [(row.id, row.subject, row.object) for row in after] == [(row.id, row.object, row.subject) for row in before]
    assert [row.label for row in after] == [children if row.label == parents else parents for row in before]


def test_nothing_is_swapped_where_the_model_does_not_see_which_entity_is_the_subject(
    make_task: Callable[..., FoldTask],
) -> None:
    assert rows_of(make_task(swap_entities=0.9, entity_marking="none").part(0)) == rows_of(
        make_task(entity_marking="none").part(0)
    )


def test_a_replacement_never_comes_from_a_row_that_judges(make_task: Callable[..., FoldTask], folder: Path) -> None:
    task, rows = make_task(replace_entities=0.99), relation_data(folder).examples.rows
    known = {one.text for row in task.training for one in rows[row].entities}

    found = {one.text for example in changed(task) for one in example.entities}

    assert found
    assert found <= known


def test_a_task_with_augmentation_has_a_hash_of_its_own(make_task: Callable[..., FoldTask]) -> None:
    hashes = {make_task(**{knob: value}).hash() for knob, value in KNOBS.items()} | {make_task().hash()}

    assert len(hashes) == 5
    assert make_task(swap_entities=0.0).hash() == make_task().hash()
    swapped = make_task(swap_entities=0.5)
    assert swapped.augmentation is not None
    assert replace(swapped, augmentation=replace(swapped.augmentation, inverse={})).hash() != swapped.hash()


# What cannot be had


@pytest.mark.parametrize(
    ("knob", "problem"),
    [
        ("swap_entities", r"training\.swap_entities: the rows are texts, which have no entities; leave it out"),
        ("replace_entities", r"training\.replace_entities: the rows are texts, which have no entities"),
    ],
)
def test_texts_have_no_entities(tmp_path: Path, knob: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        opened(tmp_path, "text,label\n비가 온다,a\n눈이 온다,b\n", {knob: {"low": 0.0, "high": 0.5}})


PSTAGE = """1\t가람은 나래사의 대표다\t가람\t0\t1\t나래사\t4\t6\t직함
2\t나래사는 가람의 회사다\t나래사\t0\t2\t가람\t5\t6\t회사
"""


@pytest.mark.parametrize(
    ("knob", "problem"),
    [
        ("swap_entities", r"training\.swap_entities: none of the labels has an inverse; name them: data\.inverse = "),
        ("replace_entities", r"training\.replace_entities: the entities of the rows have no types; leave it out"),
    ],
)
def test_relations_without_types_or_inverses_are_told(tmp_path: Path, knob: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        opened(tmp_path, PSTAGE, {knob: 0.2})


def test_a_tokenizer_without_a_mask_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path, PSTAGE, {"token_masking": 0.1})
    (folder,) = (tmp_path / "runs" / "s").glob("data-*/tokenizer")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (file := folder / name).exists():
            file.write_text(file.read_text(encoding="utf-8").replace('"mask_token"', '"unused"'), encoding="utf-8")
    (folder.parent / "tokenizer-sha256.json").unlink()

    with pytest.raises(ModelError, match=r"token_masking: the tokenizer of tiny has no mask token; token_deletion"):
        opened(tmp_path, PSTAGE, {"token_masking": 0.1})


def opened(tmp_path: Path, rows: str, training: dict[str, Any]) -> TrainingData:
    train = tmp_path / "train.csv"
    train.write_text(rows, encoding="utf-8")
    study = Study.model_validate({"name": "s", "data": {"train": train}, "training": training})
    return open_training_data(study, Workspace(tmp_path / "runs", "s"))
