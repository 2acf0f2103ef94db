"""The score of a submission: what counts, what it is compared with, and that codes are read back as labels."""

import json
from pathlib import Path

import pytest

from benchmarks.score import score, submitted


def test_rows_with_an_excluded_label_do_not_count() -> None:
    truth = ["born_in", "none", "born_in", "works_at"]

    assert score(["born_in", "works_at", "works_at", "works_at"], truth, ["none"]) == (3, 2 / 3, 2 / 3)


def test_answers_to_other_rows_than_asked_are_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        score(["born_in"], ["born_in", "works_at"], [])


@pytest.mark.parametrize("text", ["pred\n4\n2\n", "id,pred_label,probs\n1,works_at,[]\n2,born_in,[]\n"])
def test_a_submission_of_either_form_is_read_as_labels(tmp_path: Path, text: str) -> None:
    final = tmp_path / "final-1"
    final.mkdir()
    (tmp_path / "submission.csv").write_text(text, encoding="utf-8")
    (final / "ensemble.json").write_text(json.dumps({"submission": "submission.csv"}), encoding="utf-8")
    (final / "labels.json").write_text(json.dumps({"born_in": 2, "works_at": 4}), encoding="utf-8")

    assert submitted(final) == ["works_at", "born_in"]
