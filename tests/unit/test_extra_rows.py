"""Rows that only train, and training rows in several files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldrace.search.launch.final import check_final
from foldrace.search.launch.preflight import describe_study
from foldrace.storage.workspace import Workspace
from foldrace.studies.data import Data
from foldrace.studies.identity import Identity
from foldrace.studies.loading import load
from foldrace.studies.sections import Final
from foldrace.studies.study import Study, StudyError
from foldrace.trainer.data.examples import DataError, Entity, Example, Examples, read_training
from foldrace.trainer.data.extra import read_data, warn_of_test_copies
from foldrace.trainer.data.folds import PINNED
from foldrace.trainer.data.labels import Labels
from foldrace.trainer.training_data import open_training_data, plan_examples

TRAIN = "id,text,label\n" + "".join(f"t{i},{i}번째 문장이다,{'ab'[i % 2]}\n" for i in range(12))
TEST = "id,text\nq1,시험에 나오는 문장\n"
EXTRA = "id,text,label\nx1,밖에서 온 문장,a\nt1,또 하나의 문장,b\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, content in {"train": TRAIN, "test": TEST, "extra": EXTRA}.items():
        (tmp_path / f"{name}.csv").write_text(content, encoding="utf-8")
    return tmp_path


def data_of(files: Path, **data: Any) -> Data:
    given = {"train": files / "train.csv", "test": files / "test.csv", "extra": files / "extra.csv"} | data
    return Data.model_validate({key: value for key, value in given.items() if value is not None})


def study_of(files: Path, searched: bool = True, **data: Any) -> Study:
    training = {"dropout": {"low": 0.0, "high": 0.3}} if searched else {}
    return Study.model_validate({"name": "s", "data": data_of(files, **data), "training": training})


# Extra rows


def test_extra_rows_train_in_every_fold_and_judge_in_none(files: Path) -> None:
    examples, _ = read_data(data_of(files))
    folds = Study.model_validate({"name": "s", "data": {"train": "t"}, "folds": {"count": 3}}).folds
    plan, without = plan_examples(examples, folds), plan_examples(read_training(data_of(files)), folds)

    extra = [row for row, example in enumerate(examples.rows) if example.only_trains]
    assert [examples.rows[row].sentence for row in extra] == ["밖에서 온 문장", "또 하나의 문장"]
    for fold in range(3):
        assert np.array_equal(plan.validation(fold), without.validation(fold))
        assert sorted(plan.training(fold)) == sorted([*without.training(fold), *extra])
    assert (plan.fold[-2:] == PINNED).all()


def test_extra_rows_train_once_in_a_model_of_all_rows_and_count_for_no_rare_label(files: Path) -> None:
    found = []
    for extra in (files / "extra.csv", None):
        study = study_of(files, extra=extra).model_copy(update={"final": Final(validation=False)})
        found.append(open_training_data(study, Workspace(files / "runs", "s")).final_plan(1).training(0))

    assert len(found[1]) == 36  # each of the 6 rows of a label three times, as 8 folds ask for 16
    assert sorted(found[0]) == sorted([*found[1], 12, 13])


COPIES = [
    (
        "a test row",
        "x1,시험에  나오는 문장,a",
        r"extra\.csv, line 2, column text: a copy of the test row q1; take it out, or",
    ),
    ("a training row", "x1,3번째 문장이다,a", r"a copy of the training row t3; .* data\.extra_copies = \"drop\""),
    ("another width", "x1,３번째 문장이다,b", "a copy of the training row t3"),
]


@pytest.mark.parametrize(("row", "problem"), [case[1:] for case in COPIES], ids=[case[0] for case in COPIES])
def test_a_copy_is_refused_or_dropped(files: Path, row: str, problem: str) -> None:
    (files / "extra.csv").write_text(f"id,text,label\n{row}\nx2,ふたつめ,b\n", encoding="utf-8")

    with pytest.raises(DataError, match=problem):
        read_data(data_of(files))
    examples, _ = read_data(data_of(files, extra_copies="drop"))

    assert (examples.copies, examples.extra, examples.rows[-1].sentence) == (1, 1, "ふたつめ")


def test_an_extra_row_of_a_training_rows_group_is_a_copy(files: Path) -> None:
    rows = "".join(f"t{i},{i}번째 문장이다,{'ab'[i % 2]},u{i // 3}\n" for i in range(12))
    (files / "train.csv").write_text(f"id,text,label,user\n{rows}", encoding="utf-8")
    (files / "extra.csv").write_text("id,text,label,user\nx1,새 문장,a,u2\n", encoding="utf-8")

    with pytest.raises(DataError, match="a copy of the training row t8"):
        read_data(data_of(files, columns={"group": "user"}))


def test_a_pair_the_other_way_is_a_copy(files: Path) -> None:
    pairs = "".join(f"{i}번째,{i}번 물음,{'ab'[i % 2]}\n" for i in range(4))
    (files / "train.csv").write_text(f"question1,question2,label\n{pairs}", encoding="utf-8")
    (files / "extra.csv").write_text(
        "question1,question2,label\n2번 물음,2번째,a\n2번 물음,9번째,a\n", encoding="utf-8"
    )

    examples, _ = read_data(data_of(files, test=None, extra_copies="drop"))

    assert (examples.copies, examples.rows[-1].pair) == (1, "9번째")


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("c", r"extra\.csv, line 2, column label: unknown label 'c'; it is not the label of a training row"),
        ("", r"extra\.csv, line 2, column label: expected a label, found none; every training row needs one"),
    ],
)
def test_an_extra_row_needs_a_label_of_the_training_rows(files: Path, label: str, problem: str) -> None:
    (files / "extra.csv").write_text(f"id,text,label\nx1,밖에서 온 문장,{label}\n", encoding="utf-8")

    with pytest.raises(DataError, match=problem):
        read_data(data_of(files))


def test_an_extra_row_of_an_excluded_label_is_left_out(files: Path) -> None:
    rows = TRAIN + "t12,다른 것,c\n"
    (files / "train.csv").write_text(rows, encoding="utf-8")

    examples, _ = read_data(data_of(files, exclude_labels=["b"]))

    assert [row.sentence for row in examples.rows if row.only_trains] == ["밖에서 온 문장"]
    assert examples.outside == 7


def test_extra_rows_are_part_of_the_study_by_their_content(files: Path) -> None:
    study, without = study_of(files), study_of(files, extra=None)
    before = Identity.of(study)
    (files / "extra.csv").write_text(EXTRA + "x3,셋째 문장,a\n", encoding="utf-8")
    (files / "test.csv").write_text(TEST + "q2,다른 시험 문장\n", encoding="utf-8")

    assert Identity.of(study).changes_since(before) == [
        f"the content of data.test has changed ({files / 'test.csv'})",  # its rows say which extra ones are copies
        f"the content of data.extra has changed ({files / 'extra.csv'})",
    ]
    assert {"data.extra", "data.test"}.isdisjoint(Identity.of(without).values)
    assert Identity.of(study_of(files, extra_copies="drop")) == Identity.of(study)


def test_a_run_with_extra_rows_has_a_data_folder_of_its_own_and_says_how_many(files: Path) -> None:
    data = open_training_data(study_of(files), Workspace(files / "runs", "s"))
    without = open_training_data(study_of(files, extra=None), Workspace(files / "runs", "s"))

    (files / "more.csv").write_text(EXTRA.replace("t1", "x2"), encoding="utf-8")
    also_judge = study_of(files, train=[files / "train.csv", files / "more.csv"], extra=None)
    judged = open_training_data(also_judge, Workspace(files / "runs", "s"))

    assert len({data.folder, without.folder, judged.folder}) == 3
    assert data.identity == Identity.of(data.study)
    assert "          extra: 2 of these only train" in describe_study(data)
    assert not any("only train" in line for line in describe_study(without))


# Test rows that are training rows


@pytest.mark.parametrize("labels", ["", ",b"])
def test_test_rows_that_are_training_rows_are_counted_and_nothing_more(files: Path, labels: str) -> None:
    header = f"id,text{',label' if labels else ''}\n"
    rows = "".join(f"{i},{text}{labels}\n" for i, text in enumerate(["새 문장", "3번째  문장이다", "4번째 문장이다"]))
    study, fixed = study_of(files), study_of(files, searched=False)
    assert check_final(fixed) == []
    (files / "test.csv").write_text(header + rows, encoding="utf-8")
    told = "warning   2 of the 3 test rows are training rows too: models are trained on them"

    lines = describe_study(open_training_data(study, Workspace(files / "runs", "s")))

    assert lines[lines.index("          test: 3 rows") + 1] == told
    assert not [line for line in lines if "accuracy" in line]
    assert check_final(fixed) == [told]


def test_a_test_row_with_the_first_text_of_a_training_pair_or_with_other_entities_is_none_of_them() -> None:
    pair, other = (Example("1", "비가 온다", None, None, 0, pair) for pair in ("맑다", "젖는다"))
    rain, comes = Entity("비", 0, 0, None), Entity("온다", 3, 4, None)
    relation, turned = (Example("1", "비가 온다", *entities, 0) for entities in ((rain, comes), (comes, rain)))

    def told(*rows: Example) -> list[str]:
        training, test = (Examples((row,), Labels(("a",), (0,)), 0, ()) for row in rows)
        return warn_of_test_copies(training, test)

    assert (told(pair, other), told(relation, turned)) == ([], [])
    assert told(pair, pair) == told(relation, relation)
    assert "1 of the 1 test rows" in told(pair, pair)[0]


# Several files


@pytest.fixture
def parts(files: Path) -> list[Path]:
    lines = TRAIN.splitlines(keepends=True)
    found = [files / "one.csv", files / "two.csv"]
    found[0].write_text("".join(lines[:6]), encoding="utf-8")
    found[1].write_text("".join([lines[0], *lines[6:]]), encoding="utf-8")
    return found


def test_training_rows_in_several_files_are_those_of_one(files: Path, parts: list[Path]) -> None:
    together, of_one = (read_training(data_of(files, train=train)) for train in (parts, files / "train.csv"))

    assert together == of_one
    assert together.digest != of_one.digest
    assert read_training(data_of(files, train=[files / "train.csv"])).digest == of_one.digest


def test_rows_without_ids_are_counted_over_all_files(files: Path, parts: list[Path]) -> None:
    for part in parts:
        part.write_text(part.read_text(encoding="utf-8").replace("id,", "nr,"), encoding="utf-8")

    assert [row.id for row in read_training(data_of(files, train=parts)).rows] == [str(i) for i in range(12)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            "id,text,label\nt1,새 문장,a\n",
            r"two\.csv, line 2, column id: 't1' is also the id in .*one\.csv, line 3; ids",
        ),
        ("id,text,label\nn1,새 문장,\n", r"two\.csv, line 2, column label: expected a label, found none"),
        ("id,text,label\n", r"two\.csv: no rows"),
        ("id,label\nn1,a\n", r"two\.csv, line 1, column text: missing from the header"),
    ],
)
def test_an_error_names_the_file_of_its_row(files: Path, parts: list[Path], content: str, problem: str) -> None:
    parts[1].write_text(content, encoding="utf-8")

    with pytest.raises(DataError, match=problem):
        read_training(data_of(files, train=parts))


def test_several_files_are_part_of_the_study_in_their_order(files: Path, parts: list[Path]) -> None:
    study, turned = study_of(files, train=parts), study_of(files, train=parts[::-1])

    data = open_training_data(study, Workspace(files / "runs", "s"))

    assert data.identity == Identity.of(study)
    assert Identity.of(turned).changes_since(data.identity) == [
        f"the content of data.train has changed ({parts[1]}, {parts[0]})"
    ]


def test_the_paths_of_a_list_start_at_the_study_file_or_at_the_current_folder(
    files: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (files / "s.toml").write_text('name = "s"\n[data]\ntrain = ["one.csv", "two.csv"]\nextra = "extra.csv"\n')
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine.csv").write_text(EXTRA, encoding="utf-8")
    monkeypatch.chdir(elsewhere)

    study = load(files / "s.toml", ['data.extra=["mine.csv"]'])

    assert study.data.files == {"train": tuple(parts), "extra": (elsewhere / "mine.csv",)}
    assert load(files / "s.toml").data.extra == (files / "extra.csv",)
    with pytest.raises(StudyError, match=r"data\.train: no file .*none\.csv; --set data\.train=PATH"):
        load(files / "s.toml", ['data.train=["none.csv"]'])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"train": []}, r"expected a file or a list of files, found \[\]"),
        ({"train": ["a.csv", "a.csv"]}, r"a\.csv is listed twice"),
        ({"train": "a.csv", "extra": ["b.csv", "b.csv"]}, r"b\.csv is listed twice"),
    ],
)
def test_a_list_of_files_has_each_once(data: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Data.model_validate(data)
