import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial, TrialState

from benchmarks import racing
from benchmarks.recordings import EVALUATIONS, CurveError, Run, read
from benchmarks.replay import Simulation, complete_trials, replay, report_estimate, search_space_of
from benchmarks.rules import Rule, fold_rules, racing_rule, stock_rules
from foldrace.search.race.learning_curves import read_learning_curves
from foldrace.search.race.racing import RacingPruner

LEVELS = [0.55, 0.42, 0.6, 0.3, 0.5, 0.25, 0.45, 0.35]
RISE = np.array([0.05, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.0])


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    """Eight configurations of three folds, with two seeds each."""
    path = tmp_path / "curves.jsonl"
    lines: list[dict[str, object]] = []
    for seed in (1, 2):
        random = np.random.default_rng(seed)
        for config, level in enumerate(LEVELS):
            ends = level + random.normal(0, 0.02, 3)
            values = [(0.2 + (end - 0.2) * RISE).tolist() for end in ends]
            folds = [[[10 * (i + 1), 0, round(v, 4), 1.0] for i, v in enumerate(fold)] for fold in values]
            lines.append({"config": config, "seed": seed, "params": {}, "steps_per_epoch": 20, "folds": folds})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def runs(curves: Path) -> list[Run]:
    return [run for run in read(curves) if run.seed == 1]


def test_racing_finds_the_best_run_for_less(runs: list[Run]) -> None:
    done = replay(runs, RacingPruner(3, EVALUATIONS), report_estimate)

    assert done.best_run(runs) == LEVELS.index(max(LEVELS))
    assert done.complete.sum() < len(runs)
    assert done.spent.sum() < 0.6 * sum(run.total_cost for run in runs)


def test_four_workers_end_every_run_too(runs: list[Run]) -> None:
    done = replay(runs, RacingPruner(3, EVALUATIONS), report_estimate, Simulation(workers=4))

    assert done.best_run(runs) == LEVELS.index(max(LEVELS))
    assert (done.spent > 0).all()
    assert done.spent.sum() < 0.75 * sum(run.total_cost for run in runs)


class ParamsRecorder(RacingPruner):
    """Remembers the knobs of each trial."""

    def __init__(self) -> None:
        super().__init__(3, EVALUATIONS)
        self.tried: dict[int, dict[str, object]] = {}

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        self.tried[trial.number] = trial.params
        return False


def test_the_pruner_is_told_what_each_run_tried(runs: list[Run]) -> None:
    tried = [{"lr": 10.0 ** -(i % 4 + 1), "optimizer": "adamw" if i % 2 else "sgd"} for i in range(len(runs))]
    pruner = ParamsRecorder()

    replay(
        [replace(run, params=params) for run, params in zip(runs, tried, strict=True)],
        pruner,
        report_estimate,
        Simulation(workers=4),
    )

    assert [pruner.tried[i] for i in range(len(runs))] == tried


@pytest.mark.parametrize("recording", sorted(racing.RECORDED.rglob("*.jsonl")), ids=lambda path: str(path.stem))
def test_each_recorded_knob_has_the_scale_that_it_was_drawn_on(recording: Path) -> None:
    space = search_space_of(read(recording))

    logs = {knob for knob, distribution in space.items() if getattr(distribution, "log", False)}
    assert len(space) == 8
    assert logs == {"lr", "first_cycle_ratio", "min_lr"}


def test_knobs_of_another_format_have_a_stated_scale(runs: list[Run]) -> None:
    params = [{"min_lr_ratio": 1e-4, "warmup": 0.1}, {"min_lr_ratio": 1e-1, "warmup": 0.3}]

    space = search_space_of([replace(run, params=p) for run, p in zip(runs, params, strict=False)])

    assert space == {"min_lr_ratio": FloatDistribution(1e-4, 1e-1, log=True), "warmup": FloatDistribution(0.1, 0.3)}


def test_a_knob_without_a_stated_scale_is_refused(runs: list[Run]) -> None:
    with pytest.raises(CurveError, match=r"params\.depth: no scale is stated for this knob"):
        search_space_of([replace(runs[0], params={"depth": 3.0})])


def test_pausing_trials_leaves_the_best_and_costs_less(runs: list[Run]) -> None:
    without = replay(runs, RacingPruner(3, EVALUATIONS), report_estimate)

    done = replay(runs, RacingPruner(3, EVALUATIONS), report_estimate, Simulation(max_paused=4))

    assert done.best_run(runs) == LEVELS.index(max(LEVELS))
    assert (done.spent > 0).all()
    assert done.spent.sum() < without.spent.sum()


def test_complete_trials_are_what_a_study_without_pruning_leaves(runs: list[Run]) -> None:
    for trial, run in zip(complete_trials(runs), runs, strict=True):
        curves = read_learning_curves(trial, 3, EVALUATIONS)
        assert curves.best.tolist() == run.best.tolist()
        assert trial.value == run.value


def test_without_a_pruner_all_paused_trials_come_to_their_end(runs: list[Run]) -> None:
    done = replay(runs, NopPruner(), report_estimate, Simulation(workers=2, max_paused=3))

    assert done.complete.all()
    assert done.spent.tolist() == [run.total_cost for run in runs]


@pytest.mark.parametrize("rule", [*stock_rules(), *fold_rules(0.02), racing_rule()], ids=lambda rule: str(rule.name))
def test_every_rule_completes_a_trial_and_spends_at_most_all(runs: list[Run], rule: Rule) -> None:
    done = replay(runs, rule.make(3), rule.report)

    assert done.complete.any()
    assert all(
        spent <= run.total_cost and (spent == run.total_cost) == complete
        for run, spent, complete in zip(runs, done.spent, done.complete, strict=True)
    )


def test_a_study_in_a_database_gives_the_same_verdicts(runs: list[Run], tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'race.db'}", direction="maximize")
    for run in runs[:3]:
        trial = study.ask()
        for fold in range(3):
            for index in range(EVALUATIONS):
                report_estimate(trial, run, fold, index)
        study.tell(trial, run.value)
    trial = study.ask()
    for index in range(5):
        report_estimate(trial, runs[3], 0, index)

    verdict = RacingPruner(3, EVALUATIONS, risk=0.5).judge(study, study.get_trials(states=(TrialState.RUNNING,))[0])

    assert verdict.prune
    assert (verdict.fold, verdict.evaluation, verdict.incumbent) == (0, 4, 2)


def test_the_benchmark_ends_with_one_line_of_json(
    curves: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["racing", "--curves", str(curves), "--orders", "2", "--resamples", "2", "--tune-on", "--json"]
    monkeypatch.setattr(sys, "argv", command)

    racing.main()

    rules = json.loads(capsys.readouterr().out.splitlines()[-1])["rules"]
    assert {"none", "median", "wilcoxon", "aggressive", "racing", "oracle"} <= rules.keys()
    assert rules["none"]["compute"] == 1
    assert rules["oracle"]["compute"] < rules["racing"]["compute"] < 1
    assert rules["racing"]["regret_mean"] >= 0


def test_a_bad_curve_file_ends_the_benchmark_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"config": 0}\n', encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["racing", "--curves", str(path)])

    with pytest.raises(SystemExit, match=r"bad\.jsonl, line 1: not a run"):
        racing.main()
