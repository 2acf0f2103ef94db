import ast
import csv
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldrace.storage.errors import StorageError
from foldrace.storage.files.atomic import PARTIAL
from foldrace.studies.sections import Folds
from foldrace.trainer.data.folds import plan_folds
from foldrace.trainer.data.labels import Labels
from foldrace.trainer.ensemble import out_of_fold
from foldrace.trainer.submission import (
    SubmissionError,
    oof_csv,
    submission_name,
    submission_text,
    table_csv,
    write_submission,
)
from foldrace.trainer.submission import (
    test_probabilities_csv as probabilities_csv,  # or pytest would collect it
)
from tests.support.killing import killed_at

LABELS = Labels(("per:title", "org:members"), (2, 1))  # no_relation, code 0, is excluded
PROBABILITIES = np.array([[0.25, 0.75], [0.9, 0.1]], dtype=np.float32)


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_a_pred_submission_is_one_column_of_codes() -> None:
    assert submission_text("pred", ["a", "b"], PROBABILITIES, LABELS) == "pred\n1\n2\n"


def test_a_probs_submission_lists_all_labels_in_code_order() -> None:
    rows = read(submission_text("probs", ["a", "b"], PROBABILITIES, LABELS, excluded=1))
    assert rows[0] == ["id", "pred_label", "probs"]
    assert [row[:2] for row in rows[1:]] == [["a", "org:members"], ["b", "per:title"]]
    assert ast.literal_eval(rows[1][2]) == [0.0, 0.75, 0.25]
    assert np.array_equal(np.float32(ast.literal_eval(rows[2][2])[1:]), PROBABILITIES[1][::-1])


def test_a_code_without_a_place_in_a_probs_submission_is_refused() -> None:
    with pytest.raises(SubmissionError, match=r"label code 2: .* 2 labels has 0 to 1"):
        submission_text("probs", ["a", "b"], PROBABILITIES, LABELS)


def test_a_submission_of_labels_has_their_names() -> None:
    assert submission_text("labels", ["a", "b"], PROBABILITIES, LABELS) == "id,label\na,org:members\nb,per:title\n"


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("idx,relation\nb,0\na,0\n", "idx,relation\nb,2\na,1\n"),
        ("relation,ID\nsome,b\nsome,a\n", "relation,ID\nper:title,b\norg:members,a\n"),
        ("pred\n0\n0\n", "pred\n1\n2\n"),
        ("id,label\nb,\na,\n", "id,label\nb,per:title\na,org:members\n"),
        (
            "id,org:members,per:title\na,.5,.5\nb,.5,.5\n",
            "id,org:members,per:title\na,0.75,0.25\nb,0.100000001,0.899999976\n",
        ),
        ("\ufeffid,label\r\na,0\r\nb,0\r\n", "id,label\na,1\nb,2\n"),
    ],
    ids=["codes", "names", "no id", "nothing to fill in", "probabilities", "from a spreadsheet"],
)
def test_a_sample_gives_columns_rows_and_form(tmp_path: Path, sample: str, expected: str) -> None:
    path = tmp_path / "sample_submission.csv"
    path.write_text(sample, encoding="utf-8", newline="")

    assert submission_text(str(path), ["a", "b"], PROBABILITIES, LABELS) == expected


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("id,label\na,0\nc,0\n", "2 rows for 2 test rows, and 'c' is no test row's id"),
        ("id,label\na,0\n", "1 rows for 2 test rows"),
        ("id,label\na,0\na,0\n", "2 rows for 2 test rows"),
        ("id,label,more\na,0,1\nb,0,1\n", "expected one column to fill beside the id, or one for each label"),
        ("id\na\nb\n", "expected one column to fill"),
        ("id,label\na,0\nb\n", "line 3: 1 of 2 columns"),
        ("\nid,label\n\na,0\n\nb\n", "line 6: 1 of 2 columns"),
    ],
)
def test_a_sample_of_other_rows_is_refused(tmp_path: Path, sample: str, message: str) -> None:
    path = tmp_path / "sample_submission.csv"
    path.write_text(sample, encoding="utf-8")

    with pytest.raises(SubmissionError, match=r"sample_submission\.csv") as caught:
        submission_text(str(path), ["a", "b"], PROBABILITIES, LABELS)

    assert message in str(caught.value)


def test_a_sample_with_a_cell_beyond_every_limit_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "sample_submission.csv"
    path.write_text(f"id,label\na,{'0' * 99}\nb,0\n", encoding="utf-8")
    limit = csv.field_size_limit(50)
    try:
        with pytest.raises(SubmissionError, match=r"sample_submission\.csv, line 2: not CSV: field larger than"):
            submission_text(str(path), ["a", "b"], PROBABILITIES, LABELS)
    finally:
        csv.field_size_limit(limit)


def test_probabilities_of_other_rows_are_refused() -> None:
    with pytest.raises(SubmissionError, match=r"shape \(2, 2\), expected \(3, 2\)"):
        submission_text("pred", ["a", "b", "c"], PROBABILITIES, LABELS)


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5))
def test_every_id_is_read_back_as_it_was(ids: list[str]) -> None:
    rows = read(submission_text("labels", ids, np.full((len(ids), 2), 0.5), LABELS))
    assert rows == [["id", "label"], *([id_, "per:title"] for id_ in ids)]


@pytest.mark.parametrize("odd", ["=1+1", "+1", "-1", "@a", "a\tb", "a\rb", "a\nb"])
def test_an_id_that_could_be_more_than_text_is_quoted_and_not_changed(odd: str) -> None:
    text = submission_text("labels", ["plain", odd], PROBABILITIES, LABELS)
    assert text.endswith(f'\nplain,org:members\n"{odd}","per:title"\n')


FORMULAS = ["=HYPERLINK(1)", "+1+1", "-1+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "-", "-nan"]
NO_FORMULAS = ["-1", "+1", "-0.5", "+2e-05", "a=1", "'=1", "", " =1"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_is_text_in_a_table_for_people(cell: str) -> None:
    assert read(table_csv([cell], [[cell, -0.5, None]])) == [[f"'{cell}"], [f"'{cell}", "-0.5", ""]]


@pytest.mark.parametrize("cell", NO_FORMULAS)
def test_what_is_no_formula_stays_as_it_is_in_a_table_for_people(cell: str) -> None:
    assert read(table_csv(["a", "b"], [[cell, -1e-05]])) == [["a", "b"], [cell, "-1e-05"]]


def test_the_tables_of_a_final_job_hold_no_formula() -> None:
    labels = Labels(("=1+1", "@b"), (0, 1))
    plan = plan_folds(np.array([0, 1, 0, 1], dtype=np.int64), ["a", "b", "c", "d"], labels.names, Folds(count=2))
    right = [np.eye(2)[np.array([0, 1, 0, 1])[plan.validation(k)]] for k in range(2)]
    scored = out_of_fold([(plan, right)], np.array([0, 1, 0, 1], dtype=np.int64))

    rows = read(oof_csv(scored, ["=0", "+a", "-b", "d"], labels))
    assert rows[0] == ["id", "fold", "seed", "label", "predicted", "'=1+1", "'@b"]
    assert [row[0] for row in rows[1:]] == ["'=0", "'+a", "'-b", "d"]
    assert [row[3:5] for row in rows[1:3]] == [["'=1+1", "'=1+1"], ["'@b", "'@b"]]
    assert read(probabilities_csv(["=0", "b"], PROBABILITIES, labels))[:2] == [
        ["id", "'=1+1", "'@b"],
        ["'=0", "0.25", "0.75"],
    ]


def test_out_of_fold_rows_name_their_fold_and_seed() -> None:
    labels = np.array([0, 1, 0, 1], dtype=np.int64)
    plan = plan_folds(labels, ["a", "b", "c", "d"], LABELS.names, Folds(count=2))
    right = [np.eye(2)[labels[plan.validation(k)]] for k in range(2)]
    rows = read(oof_csv(out_of_fold([(plan, right)], labels), ["id0", "id1", "id2", "id3"], LABELS))
    assert rows[0] == ["id", "fold", "seed", "label", "predicted", "per:title", "org:members"]
    assert [row[0] for row in rows[1:]] == ["id0", "id1", "id2", "id3"]
    assert [row[1] for row in rows[1:]] == [str(fold) for fold in plan.fold]
    assert rows[2][2:] == ["77", "org:members", "org:members", "0.0", "1.0"]


def test_submissions_are_numbered_and_an_earlier_one_is_kept(tmp_path: Path) -> None:
    first, second = (write_submission(tmp_path / "new", "8fold_tiny", f"pred\n{code}\n") for code in (0, 1))
    assert first == tmp_path / "new/8fold_tiny1/8fold_tiny1.csv"
    assert second == tmp_path / "new/8fold_tiny2/8fold_tiny2.csv"
    assert first.read_text() == "pred\n0\n"


def test_an_empty_folder_of_the_user_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "8fold_tiny1").mkdir()
    assert write_submission(tmp_path, "8fold_tiny", "pred\n").parent.name == "8fold_tiny2"
    assert list((tmp_path / "8fold_tiny1").iterdir()) == []


def test_no_two_writers_get_the_same_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda i: write_submission(tmp_path, "8fold_tiny", f"{i}\n"), range(40)))
    assert sorted(path.parent.name for path in paths) == sorted(f"8fold_tiny{n}" for n in range(1, 41))
    assert [path.read_text() for path in paths] == [f"{i}\n" for i in range(40)]


def test_a_writer_that_is_killed_leaves_no_folder_without_its_file(tmp_path: Path) -> None:
    step = 0
    while killed_at(step, lambda: write_submission(tmp_path, "8fold_tiny", "pred\n")):
        step += 1
        named = [folder for folder in tmp_path.iterdir() if not folder.name.startswith(PARTIAL)]
        assert all((folder / f"{folder.name}.csv").read_text() == "pred\n" for folder in named)

    assert step > 8


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("monologg/koelectra-base-v3-discriminator", "8fold_koelectra-base-v3-discriminator"),
        ("../../etc", "8fold_etc"),
        ("a/b/", "8fold_b"),
        ("..", "8fold_.."),
        ("/", "8fold_model"),
        ("모델 x", "8fold__x"),
    ],
)
def test_a_models_name_never_leaves_the_folder(tmp_path: Path, model: str, name: str) -> None:
    assert submission_name("8fold", model) == name
    assert (tmp_path / f"{name}1").resolve().parent == tmp_path.resolve()


def test_a_parent_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="/file: cannot be written: not a folder"):
        write_submission(tmp_path / "file", "8fold_tiny", "pred\n")
