import ast
import csv
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldrace.studies.study import Folds
from foldrace.trainer.data.folds import plan_folds
from foldrace.trainer.data.labels import Labels
from foldrace.trainer.ensemble import out_of_fold
from foldrace.trainer.submission import (
    SubmissionError,
    oof_csv,
    submission_folder,
    submission_text,
)
from foldrace.trainer.submission import (
    test_probabilities_csv as probabilities_csv,  # or pytest would collect it
)

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


def test_probabilities_of_other_rows_are_refused() -> None:
    with pytest.raises(SubmissionError, match=r"shape \(2, 2\), expected \(3, 2\)"):
        submission_text("pred", ["a", "b", "c"], PROBABILITIES, LABELS)


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5))
def test_every_id_is_read_back_as_it_was(ids: list[str]) -> None:
    probabilities = np.full((len(ids), 2), 0.5)
    rows = read(probabilities_csv(ids, probabilities, LABELS))
    assert rows == [["id", *LABELS.names], *([id_, "0.5", "0.5"] for id_ in ids)]


@pytest.mark.parametrize("odd", ["=1+1", "+1", "-1", "@a", "a\tb", "a\rb", "a\nb"])
def test_an_id_that_could_be_more_than_text_is_quoted_and_not_changed(odd: str) -> None:
    text = probabilities_csv(["plain", odd], PROBABILITIES, LABELS)
    assert text.endswith(f'\nplain,0.25,0.75\n"{odd}",0.899999976,0.100000001\n')


def test_out_of_fold_rows_name_their_fold_and_seed() -> None:
    labels = np.array([0, 1, 0, 1], dtype=np.int64)
    plan = plan_folds(labels, ["a", "b", "c", "d"], LABELS.names, Folds(count=2))
    right = [np.eye(2)[labels[plan.validation(k)]] for k in range(2)]
    rows = read(oof_csv(out_of_fold([(plan, right)], labels), ["id0", "id1", "id2", "id3"], LABELS))
    assert rows[0] == ["id", "fold", "seed", "label", "predicted", "per:title", "org:members"]
    assert [row[0] for row in rows[1:]] == ["id0", "id1", "id2", "id3"]
    assert [row[1] for row in rows[1:]] == [str(fold) for fold in plan.fold]
    assert rows[2][2:] == ["77", "org:members", "org:members", "0.0", "1.0"]


def test_folders_are_numbered_and_an_earlier_one_is_kept(tmp_path: Path) -> None:
    first = submission_folder(tmp_path / "new", 8, "monologg/koelectra-base-v3-discriminator")
    (first / f"{first.name}.csv").write_text("pred\n")
    second = submission_folder(tmp_path / "new", 8, "monologg/koelectra-base-v3-discriminator")
    assert first.name == "8fold_koelectra-base-v3-discriminator1"
    assert second.name == "8fold_koelectra-base-v3-discriminator2"
    assert (first / f"{first.name}.csv").read_text() == "pred\n"


def test_no_two_callers_get_the_same_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: submission_folder(tmp_path, 8, "tiny"), range(40)))
    assert sorted(folders) == sorted(tmp_path / f"8fold_tiny{n}" for n in range(1, 41))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("../../etc", "8fold_etc1"),
        ("a/b/", "8fold_b1"),
        ("..", "8fold_..1"),
        ("/", "8fold_model1"),
        ("모델 x", "8fold__x1"),
    ],
)
def test_a_models_name_never_leaves_the_folder(tmp_path: Path, model: str, name: str) -> None:
    folder = submission_folder(tmp_path, 8, model)
    assert folder == tmp_path / name
    assert folder.resolve().parent == tmp_path.resolve()


def test_a_parent_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SubmissionError, match="no submission folder can be made there"):
        submission_folder(tmp_path / "file", 8, "tiny")
