"""An exported study file is whole, fixes every knob and holds no password."""

from collections.abc import Callable
from pathlib import Path

from foldrace.search.ensemble.export import SelectedTrial, export
from foldrace.studies.loading import load
from foldrace.studies.study import Study
from tests.support.killing import killed_at

SELECTED = SelectedTrial(3, 0.7, {"gamma": 0.5, "epochs": 7}, (0.6, 0.8))


def test_an_exported_study_has_every_knob_fixed_and_no_password(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = make_study(storage="postgresql+psycopg://me:canary@host/db", baseline={"epochs": 9})

    export(study, SELECTED, tmp_path / "final.toml")

    assert "canary" not in (tmp_path / "final.toml").read_text(encoding="utf-8")
    exported = load(tmp_path / "final.toml")
    assert exported.hyperparameters({}).gamma == 0.5
    assert exported.hyperparameters({}).epochs == 7


def test_an_exporter_killed_at_any_step_leaves_one_whole_file(make_study: Callable[..., Study], tmp_path: Path) -> None:
    path, study = tmp_path / "final.toml", make_study(baseline={"epochs": 9})
    export(study, SELECTED, path)
    whole = path.read_text()
    assert f"foldrace final {path}\n" in whole
    path.write_text("the one before")
    step = 0
    while killed_at(step, lambda: export(study, SELECTED, path)):
        assert path.read_text() in ("the one before", whole)
        step += 1

    assert step > 8
    assert path.read_text() == whole


def test_the_folds_of_a_winner_give_its_deviation() -> None:
    assert round(SELECTED.deviation, 4) == 0.1414
