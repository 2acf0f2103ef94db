import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.pruners import NopPruner

from benchmarks import simulate
from benchmarks.recordings import CurveError, Run
from benchmarks.simulation.cases import Results
from benchmarks.simulation.report import rows
from benchmarks.simulation.samplers import tpe
from benchmarks.simulation.strategies import STRATEGIES
from benchmarks.simulation.studies import Extent, play
from benchmarks.simulation.worlds import World, make_world, open_recording
from foldrace.search.race.racing import RacingPruner

FLOOR, FOLDS = 0.2, 3


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    """Twenty configurations of three folds, whose value follows from the learning rate; the lowest never rise."""
    random = np.random.default_rng(1)
    path = tmp_path / "curves.jsonl"
    path.write_text("".join(json.dumps(_run(config, random)) + "\n" for config in range(20)), encoding="utf-8")
    return path


def _run(config: int, random: np.random.Generator, points: int = 8) -> dict[str, Any]:
    """As in the given recordings: other knobs than ours, a loss but no bits, one seed."""
    position = random.random()
    level = max(FLOOR, 0.1 + 0.6 * position)
    ends = np.full(FOLDS, level) if level == FLOOR else level + random.normal(0, 0.02, FOLDS)
    share = np.linspace(1 / points, 1, points)
    folds = [[[10 * (i + 1), 0, FLOOR + (end - FLOOR) * s, 1.0] for i, s in enumerate(share)] for end in ends]
    params = {"lr": 1e-4 * 10**position, "warmup": random.random(), "epochs": int(random.integers(2, 6))}
    return {"config": config, "seed": 7, "params": params, "steps_per_epoch": 20, "folds": folds}


def test_a_world_is_determined_by_its_number(curves: Path) -> None:
    one, same, other = (make_world(curves, "trees", 1.0, number) for number in (0, 0, 1))
    params = {"lr": 5e-4, "warmup": 0.5, "epochs": 3}

    assert one.best == same.best
    assert one.train(params, 0, 4).best.tolist() == same.train(params, 0, 4).best.tolist()
    assert one.level(params) != other.level(params)


@pytest.mark.parametrize("truth", ["process", "trees"])
def test_a_truth_follows_the_recordings(curves: Path, truth: str) -> None:
    world = make_world(curves, truth, 1.0, 0)

    low, high = (world.level({"lr": lr, "warmup": 0.5, "epochs": 3}) for lr in (1.5e-4, 6e-4))

    assert low < high - 0.15
    assert world.typical < high <= world.best


def test_no_configuration_is_better_than_the_best(curves: Path) -> None:
    world, random = make_world(curves, "process", 1.0, 3), np.random.default_rng(0)

    assert world.truth(random.random((2000, 3))).max() <= world.best + 1e-4


def test_half_the_noise_is_half_the_distance_between_folds(curves: Path) -> None:
    params = {"lr": 8e-4, "warmup": 0.5, "epochs": 3}
    whole, half = (make_world(curves, "trees", noise, 0).train(params, 0, 0).best[:, -1] for noise in (1.0, 0.5))
    none = make_world(curves, "trees", 0.0, 0).train(params, 0, 0).best[:, -1]

    assert half - none == pytest.approx((whole - none) / 2)
    assert np.ptp(whole - none) > 0


def test_folds_are_as_hard_for_every_trial(curves: Path) -> None:
    recording = open_recording(curves)
    world = make_world(curves, "trees", 0.0, 0)
    one = world.train({"lr": 8e-4, "warmup": 0.5, "epochs": 3}, 0, 0).best[:, -1]
    other = world.train({"lr": 6e-4, "warmup": 0.2, "epochs": 5}, 0, 1).best[:, -1]

    assert one - one.mean() == pytest.approx(other - other.mean())
    assert recording.offset_deviation > 0


def test_a_configuration_at_the_majority_class_stays_there(curves: Path) -> None:
    world = make_world(curves, "trees", 0.0, 0)

    run = world.train({"lr": 1e-4, "warmup": 0.5, "epochs": 3}, 0, 0)

    assert run.value < FLOOR + 0.03
    assert (run.best >= FLOOR).all()


def test_a_trial_costs_its_epochs(curves: Path) -> None:
    steps = play(make_world(curves, "trees", 1.0, 0), tpe, NopPruner(), seed=0, extent=Extent(4))

    costs = np.diff([0.0, *(step.spent for step in steps)])

    assert set(costs) <= {FOLDS * epochs for epochs in (2, 3, 4, 5)}


def test_the_highest_complete_value_is_chosen(curves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, runs = make_world(curves, "trees", 3.0, 0), list[Run]()
    train = World.train

    def watched(*arguments: Any) -> Run:
        runs.append(train(*arguments))
        return runs[-1]

    monkeypatch.setattr(World, "train", watched)
    steps = play(world, tpe, NopPruner(), seed=0, extent=Extent(8))

    chosen = [max(runs[: i + 1], key=lambda run: run.value) for i in range(8)]
    assert [step.level for step in steps] == [world.level(run.params) for run in chosen]
    assert chosen[-1] is not runs[0]


def test_pruning_spends_less_and_four_workers_are_faster(curves: Path) -> None:
    world = make_world(curves, "trees", 1.0, 0)

    def last(pruner: Any, workers: int = 1) -> Any:
        return play(world, tpe, pruner, seed=0, extent=Extent(12), workers=workers)[-1]

    whole, raced, parallel = last(NopPruner()), last(RacingPruner(FOLDS, 8)), last(NopPruner(), 4)

    assert raced.spent < 0.8 * whole.spent
    assert whole.clock == whole.spent
    assert parallel.clock < 0.4 * parallel.spent


def test_fourteen_points_in_a_fold_are_read(tmp_path: Path) -> None:
    path, random = tmp_path / "curves.jsonl", np.random.default_rng(1)
    path.write_text("\n".join(json.dumps(_run(config, random, 14)) for config in range(8)), encoding="utf-8")

    run = make_world(path, "trees", 1.0, 0).train({"lr": 8e-4, "warmup": 0.5, "epochs": 3}, 0, 0)

    assert run.best.shape == (FOLDS, 8)


def _simulate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["simulate", "--trials", "6", "--truths", "trees", "--jobs", "1", *arguments])
    simulate.main()


def test_json_has_a_line_for_each_strategy(
    curves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = str(tmp_path / "results.jsonl")

    _simulate(
        monkeypatch,
        "--curves",
        str(curves),
        "--worlds",
        "2",
        "--strategies",
        "tpe,tpe_racing",
        "--results",
        results,
        "--json",
    )

    found = json.loads(capsys.readouterr().out.splitlines()[-1])["strategies"]
    assert set(found) == {"tpe", "tpe_racing"}
    wanted = {"ratio_to_tpe24", "fold_epochs_to_tpe24", "fold_epochs_24", "shortfall_24", "se"}
    assert all(wanted <= set(line) for line in found.values())
    assert 0 < found["tpe_racing"]["fold_epochs_24"] < found["tpe"]["fold_epochs_24"]


def test_any_strategy_can_be_the_one_to_reach(
    curves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--curves", str(curves), "--worlds", "2", "--results", str(tmp_path / "results.jsonl"), "--json")

    _simulate(monkeypatch, *arguments, "--strategies", "tpe", "--baseline", "tpe_racing", "--workers", "2")

    found = json.loads(capsys.readouterr().out.splitlines()[-1])["strategies"]
    assert list(found) == ["tpe_racing", "tpe"]  # both with as many workers
    assert found["tpe_racing"]["ratio_to_tpe_racing24"] == 1
    assert found["tpe"]["clock_end"] > found["tpe_racing"]["clock_end"] > 0


def test_a_run_that_was_cut_off_goes_on(
    curves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.jsonl"
    arguments = ("--curves", str(curves), "--worlds", "2", "--strategies", "tpe", "--results", str(results))
    _simulate(monkeypatch, *arguments)
    whole, table = results.read_text(encoding="utf-8"), capsys.readouterr().out
    results.write_text(whole[: -len(whole) // 5], encoding="utf-8")  # a kill in the middle of a line

    _simulate(monkeypatch, *arguments)

    kept, added = whole.splitlines()[:3], results.read_text(encoding="utf-8").splitlines()
    assert added[:3] == kept
    assert capsys.readouterr().out == table


def test_what_other_code_gave_is_played_again(curves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results.jsonl"
    _simulate(monkeypatch, "--curves", str(curves), "--worlds", "1", "--strategies", "tpe", "--results", str(results))
    lines = [json.loads(line) | {"code": "another"} for line in results.read_text(encoding="utf-8").splitlines()]
    results.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    assert not Results(results).outcomes


def test_a_baseline_that_is_alone_needs_what_it_spends(curves: Path, tmp_path: Path) -> None:
    cases = simulate.Plan([curves], ["tpe"], worlds=2, truths=["trees"]).cases()
    results = Results(tmp_path / "results.jsonl")

    simulate.play_all(cases, results, jobs=1)

    (row,) = rows(results.outcomes)
    assert row.ratios[0] == 1
    assert row.differences == ((0.0, 0.0),) * 7


def test_a_file_that_is_none_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "nothing.jsonl"
    path.write_text("{}\n", encoding="utf-8")

    with pytest.raises(SystemExit, match=r"nothing\.jsonl, line 1: not a run"):
        _simulate(monkeypatch, "--curves", str(path), "--strategies", "tpe")


def test_every_strategy_that_is_promised_is_there() -> None:
    promised = [
        "tpe",
        "tpe_halving",
        "tpe_racing",
        "gpsampler",
        "foldrace",
        "foldrace_trials",
        "foldrace_converged",
        "foldrace_prior",
        "foldrace_again",
        "foldrace_reversed",
    ]

    assert list(STRATEGIES) == promised


def test_an_unreadable_file_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(CurveError, match="cannot be read"):
        open_recording(tmp_path / "missing.jsonl")
