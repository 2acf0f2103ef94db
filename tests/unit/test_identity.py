"""What makes two studies the same one, in this version and across versions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foldrace.studies.identity import Identity
from foldrace.studies.loading import load, parse
from foldrace.studies.study import Study, StudyError
from tests.support.later_version import later_version

TRAINING = {"lr": 1e-3, "gamma": {"low": 0.4, "high": 1.0}}
HASH_OF_DEMO = "47a690d09e2743bece072f396914a9b57db1890626d20232c782239a0f1f8b92"  # in 0.1.0


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.tsv"
    path.write_text("a row\n", encoding="utf-8")
    return path


@pytest.fixture
def later() -> Iterator[None]:
    with later_version():
        yield


def study(train: Path, **sections: Any) -> Study:
    data = {"train": str(train), **sections.pop("data", {})}
    return parse({"name": "s", "data": data, "training": TRAINING, **sections}, "s.toml")


def test_a_data_file_may_move(train: Path, tmp_path: Path) -> None:
    before = Identity.of(study(train))
    moved = train.rename(tmp_path / "elsewhere.tsv")

    assert Identity.of(study(moved)) == before


def test_a_data_file_may_not_change(train: Path) -> None:
    before = Identity.of(study(train))
    train.write_text("another row\n", encoding="utf-8")

    assert Identity.of(study(train)).changes_since(before) == [f"the content of data.train has changed ({train})"]


@pytest.mark.parametrize(
    "sections",
    [
        {"name": "another"},
        {"search": {"trials": 5}},
        {"search": {"storage": "sqlite:///x.db", "sampler": "tpe", "trackers": ["mlflow"], "lease_seconds": 5.0}},
        {"final": {"folds": 3}},
        {"final": {"validation": False}},  # of a search
        {"training": {**TRAINING, "dropout": 0.1}},  # its default
        {"training": {**TRAINING, "max_grad_norm": 1}},  # its default, written without a point
        {"folds": {"count": 5}},
    ],
)
def test_budgets_places_and_defaults_are_no_part_of_the_identity(train: Path, sections: dict[str, Any]) -> None:
    stored, asked = Identity.of(study(train)), Identity.of(study(train, **sections))

    assert asked == stored
    assert asked.hash() == stored.hash()


@pytest.mark.parametrize(
    ("sections", "change"),
    [
        (
            {"training": {**TRAINING, "gamma": {"low": 0.5, "high": 1.0}}},
            'training.gamma is {"low": 0.5, "high": 1.0}, was {"low": 0.4, "high": 1.0}',
        ),
        ({"training": {**TRAINING, "lr": 2e-3}}, "training.lr is 0.002, was 0.001"),
        ({"data": {"task": "text"}}, 'data.task is "text", was null'),
        ({"data": {"columns": {"label": "topic"}}}, 'data.columns is {"label": "topic"}, was {}'),
        ({"folds": {"count": 8}}, "folds.count is 8, was 5"),
        ({"model": {"vocabulary": 900}}, "model.vocabulary is 900, was null"),
        ({"data": {"inverse": {"a": "b"}}}, 'data.inverse is {"a": "b"}, was null'),
        ({"model": {"name": "models/koelectra"}}, 'model.name is "models/koelectra", was "tiny"'),
        ({"search": {"metric": "auprc"}}, 'search.metric is "auprc", was "accuracy"'),
        ({"search": {"baseline": {"gamma": 0.9}}}, 'search.baseline is {"gamma": 0.9}, was {}'),
        ({"search": {"baseline": [{"gamma": 0.9}]}}, 'search.baseline is {"gamma": 0.9}, was {}'),
        (
            {"search": {"baseline": [{"gamma": 0.9}, {"gamma": 0.8}]}},
            'search.baseline is [{"gamma": 0.9}, {"gamma": 0.8}], was {}',
        ),
    ],
)
def test_what_decides_a_trial_is_the_identity(train: Path, sections: dict[str, Any], change: str) -> None:
    stored, asked = Identity.of(study(train)), Identity.of(study(train, **sections))

    assert stored.hash() != asked.hash()
    assert asked.changes_since(stored) == [change]


def test_up_to_three_changes_are_named(train: Path) -> None:
    def told(**folds: int) -> str:
        return Identity.of(study(train, folds=folds)).words_since(Identity.of(study(train)))

    count, seed, oversampling = (
        "folds.count is 3, was 5",
        "folds.seed is 1, was 77",
        "folds.oversample_minority is false, was true",
    )
    assert told() == ""
    assert told(count=3) == count
    assert told(count=3, seed=1, oversample_minority=False) == f"{count}, and {seed}, and {oversampling}"
    assert told(count=3, seed=1, oversample_minority=False, leaky_oversampling=True) == f"{count} (and 3 more)"


def test_a_label_file_that_one_of_them_lacks_is_a_change(train: Path) -> None:
    without = Identity.of(study(train))
    with_labels = Identity.of(study(train, data={"labels": str(train)}))
    digest = with_labels.values["data.labels"]

    assert with_labels.changes_since(without) == [f"data.labels is {digest}, was absent"]
    assert without.changes_since(with_labels) == [f"data.labels is absent, was {digest}"]


def test_the_identity_of_missing_data_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"none\.tsv: cannot be read: No such file"):
        Identity.of(study(tmp_path / "none.tsv"))


def test_an_identity_survives_its_json(train: Path) -> None:
    identity = Identity.of(study(train))

    assert Identity.from_json(identity.to_json(), "s") == identity


# Across versions


def test_the_hash_is_that_of_0_1_0() -> None:
    assert Identity.of(load("demo")).hash() == HASH_OF_DEMO


@pytest.mark.usefixtures("later")
def test_a_knob_and_a_key_that_came_later_leave_the_hash_as_it_was() -> None:
    assert Identity.of(load("demo")).hash() == HASH_OF_DEMO


def test_what_an_identity_does_not_have_counts_as_its_default(train: Path) -> None:
    stored = Identity.of(study(train)).to_json()

    with later_version():
        before = Identity.from_json(stored, "s")
        asked = study(train, training={**TRAINING, "patience": 0.7}, folds={"repeats": 2})

        assert Identity.of(study(train)) == before
        assert Identity.of(asked).changes_since(before) == [
            "folds.repeats is 2, was 1",
            "training.patience is 0.7, was 0.5",
        ]


def test_an_older_version_reads_what_a_later_one_stored_with_its_defaults(train: Path) -> None:
    with later_version():
        stored = Identity.of(study(train)).to_json()

    assert Identity.from_json(stored, "s") == Identity.of(study(train))


def test_an_older_version_refuses_a_key_that_it_does_not_know(train: Path) -> None:
    with later_version():
        stored = Identity.of(study(train, folds={"repeats": 2})).to_json()

    with pytest.raises(StudyError, match=r"^study s: folds\.repeats: unknown key; a newer foldrace made it, so update"):
        Identity.from_json(stored, "study s")


def test_a_final_job_of_all_rows_is_another_one(train: Path) -> None:
    folds, of_all = (
        study(train, training={"lr": 1e-3}, final={"validation": has_folds}) for has_folds in (True, False)
    )

    assert "final.validation" not in Identity.of(folds).to_json()
    assert Identity.of(of_all).changes_since(Identity.of(folds)) == ["final.validation is false, was true"]
