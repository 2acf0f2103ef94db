"""An exported study file is whole, fixes every knob and holds no password."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from foldrace.search.ensemble.export import SelectedTrial, exported_text
from foldrace.storage.errors import StorageError
from foldrace.storage.files.own_files import write_own
from foldrace.studies.identity import Identity
from foldrace.studies.knobs import Hyperparameters
from foldrace.studies.loading import load
from foldrace.studies.study import Study
from tests.support.killing import killed_at

SELECTED = SelectedTrial(3, 0.7, {"gamma": 0.5, "epochs": 7}, (0.6, 0.8))


def test_an_exported_study_has_every_knob_fixed_and_no_password(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = make_study(storage="postgresql+psycopg://me:canary@host/db", baseline={"epochs": 9})

    text = exported_text(study, SELECTED, tmp_path / "final.toml")

    assert "canary" not in text
    (tmp_path / "final.toml").write_text(text, encoding="utf-8")
    exported = load(tmp_path / "final.toml")
    assert exported.hyperparameters({}).gamma == 0.5
    assert exported.hyperparameters({}).epochs == 7
    assert exported.training.keys() == Hyperparameters.model_fields.keys()
    assert Identity.of(exported) == Identity.of(study.with_fixed(SELECTED.sampled))


@pytest.mark.parametrize(
    ("folds", "said"),
    [((0.6, 0.8), "sd 0.1414"), ((0.6,), "1 of 2 folds")],
)
def test_a_trial_without_all_its_folds_says_how_many_it_has(folds: tuple[float, ...], said: str) -> None:
    assert replace(SELECTED, folds=folds).note(2) == said


def test_an_exporter_killed_at_any_step_leaves_one_whole_file(make_study: Callable[..., Study], tmp_path: Path) -> None:
    path, study = tmp_path / "final.toml", make_study(baseline={"epochs": 9})
    whole = exported_text(study, SELECTED, path)
    assert f"foldrace final {path}\n" in whole
    write_own(path, "the one before", tmp_path)
    step = 0
    while killed_at(step, lambda: write_own(path, whole, tmp_path)):
        assert path.read_text() in ("the one before", whole)
        step += 1

    assert step > 8
    assert path.read_text() == whole


def test_a_file_that_was_edited_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "final.toml"
    for text in ("first", "second", "second"):
        write_own(path, text, tmp_path / "run")
    path.write_text("edited")

    with pytest.raises(StorageError, match=r"final\.toml: was edited, or foldrace did not write it; --force"):
        write_own(path, "third", tmp_path / "run")
    assert path.read_text() == "edited"

    write_own(path, "third", tmp_path / "run", force=True)
    write_own(path, "fourth", tmp_path / "run")
    assert path.read_text() == "fourth"


def test_a_run_that_was_copied_knows_its_files(tmp_path: Path) -> None:
    write_own(tmp_path / "run/final.toml", "first", tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")

    write_own(tmp_path / "copy/final.toml", "second", tmp_path / "copy")

    assert (tmp_path / "copy/final.toml").read_text() == "second"


def test_the_folds_of_a_winner_give_its_deviation() -> None:
    assert round(SELECTED.deviation, 4) == 0.1414
