"""The words and the view of a status, from made-up numbers."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from foldrace.search.assessment.assessment import Assessment
from foldrace.search.assessment.edges import edge_words
from foldrace.search.assessment.intervals import Interval
from foldrace.search.compute import FoldEpochs
from foldrace.search.ending import Outlook, SearchEnd, Usage
from foldrace.search.monitor.lines import minute_line, progress_line, status_lines
from foldrace.search.monitor.live import LineView
from foldrace.search.monitor.status import BestTrial, FailedTrial, FinalStatus, OrphanedTrial, StudyStatus, WorkerStatus
from foldrace.search.monitor.view import live_view
from foldrace.search.workers.slots import Slot
from foldrace.search.workers.supervisor import Snapshot, WorkerView
from foldrace.storage.optuna_rows import State
from foldrace.storage.workers import Control
from foldrace.studies.knobs import Value
from foldrace.studies.loading import load
from foldrace.studies.study import Study

QUIET = Snapshot((), "")


@pytest.fixture
def status(make_study: Callable[..., Study]) -> StudyStatus:
    worker = WorkerStatus("host:1", "host", 7, "cuda:0", 4, 2, 3.1, 0.71, 512.0, stopped=False, silent_seconds=3)
    return StudyStatus(
        study=make_study(baseline={"gamma": 1.0, "epochs": 20}),
        name="small",
        control="running",
        trials={"COMPLETE": 3, "PRUNED": 2, "FAIL": 1, "RUNNING": 2, "WAITING": 5},
        evaluations={"COMPLETE": 120, "PRUNED": 20},
        best=BestTrial(1, 0.7, {"gamma": 0.51239, "epochs": 9}),
        first=0.65,
        seconds_each=120.0,
        finals=(FinalStatus("small/final-1", 8, 3, 1, 0.71),),
        workers=(worker,),
        failures=(FailedTrial(5, "out of memory"),),
        orphans=(OrphanedTrial(6, None, 2, "host:2", "its worker died"),),
        fold_epochs=FoldEpochs(30.0, 90.0),
        epochs={4: 8.0},
        usage=Usage(1.5, 30.0, 2, 0.7, (Outlook(0.004, 0.01, 0.03, 9),)),
    )


def test_the_headline_counts_what_has_ended(status: StudyStatus) -> None:
    assert progress_line(status) == "6/13 trials, 2 pruned, 1 failed, best 0.7000 (trial 1)"
    assert progress_line(replace(status, control="paused")).startswith("paused: 6/13 trials")
    assert progress_line(None) == "preparing the data and the model"


def test_status_tells_best_savings_outlook_workers_orphans_and_failures(status: StudyStatus) -> None:
    told = "\n".join(status_lines(status))

    assert "trial 1: accuracy 0.7000, +0.0500 against the baseline" in told
    assert "knobs     gamma 0.5124, epochs 9" in told
    assert "final     small/final-1: 3 of 8 folds done, 1 failed, mean 0.7100" in told
    assert "left      about 12 min" in told  # five trials that wait and half of two running ones, two minutes each
    assert "30 fold-epochs spent, 90 (75%) saved by pruning" in told
    assert "the next trial can be expected to gain 0.0040 (trials differ by 0.0300): it has not converged" in told
    assert "cuda:0 on host, pid 7, last sign 3 s ago: trial 4, fold 2, epoch 3.1, accuracy 0.7100 so far" in told
    assert "trial 6, attempt 2: its worker died" in told
    assert "trial 5: out of memory" in told


def test_knobs_of_the_best_at_edges_that_may_be_widened_are_named(status: StudyStatus) -> None:
    def told(knobs: dict[str, Value]) -> list[str]:
        lines = status_lines(replace(status, best=BestTrial(1, 0.7, knobs)))
        return [line for line in lines if line.startswith("edges")]

    wider = "of the range; widen the range, and begin with --as NEW_NAME --from small"
    assert told({"gamma": 0.4, "epochs": 40}) == [
        f"edges     epochs 40 at the upper end and gamma 0.4 at the lower end {wider}"
    ]
    assert told({"gamma": 1.0, "epochs": 20}) == []  # a gamma of 1 is the highest that there is


def test_values_that_no_range_has_are_at_its_end_or_nowhere() -> None:
    """As those of a trial that was added by hand."""
    told = edge_words(load("demo"), {"min_lr": 0.0, "first_cycle_ratio": -1.0, "dropout": "much"})

    assert told.startswith("min_lr 0, first_cycle_ratio -1 at the lower end of the range")


def test_a_baseline_that_is_the_best_is_named_so(status: StudyStatus) -> None:
    assert status.best is not None
    best = replace(status.best, number=0)

    assert ", the baseline" in "\n".join(status_lines(replace(status, best=best)))
    assert "against the baseline" not in "\n".join(status_lines(replace(status, best=best)))


def test_a_log_is_told_each_minute_what_the_workers_do(status: StudyStatus, capsys: pytest.CaptureFixture[str]) -> None:
    line, now = "trial 4, fold 2, epoch 3.1 of 8, accuracy 0.7100; about 12 min left", [0.0]
    view = LineView(lambda: now[0])

    for now[0] in (0.0, 59.0, 61.0, 62.0, 122.0):
        view.show(status, QUIET, "")

    assert minute_line(status) == line
    head, *minutes = capsys.readouterr().out.splitlines()
    assert head == progress_line(status)
    assert [minute[5:] for minute in minutes] == [f" {line}"] * 2


def test_a_search_with_budgets_shows_what_is_used(status: StudyStatus) -> None:
    search = status.study.search.model_copy(update={"gpu_hours": 2.0, "fold_epochs": 40.0})
    status = replace(status, study=status.study.model_copy(update={"search": search}))

    assert "30 of 40 fold-epochs spent, 90 (75%) saved by pruning, 1.50 of 2 GPU hours" in "\n".join(
        status_lines(status)
    )
    of_job = replace(status, name="small/final-1", usage=None, fold_epochs=FoldEpochs(54.0, 0.0))
    assert "compute   54 fold-epochs spent" in status_lines(of_job)


@pytest.mark.parametrize(
    ("lets_go", "running", "number", "state"),
    [(True, 2, 4, "running"), (True, 2, None, "done"), (False, 1, None, "running"), (False, 0, None, "done")],
)
def test_a_search_that_ends_early_is_done_when_nobody_works_on_it(
    status: StudyStatus, lets_go: bool, running: int, number: int | None, state: str
) -> None:
    """Who lets go leaves trials that wait for more budget; else what runs goes on to its end."""
    worker, trials = replace(status.workers[0], number=number), {**status.trials, "RUNNING": running}
    status = replace(status, workers=(worker,), trials=trials, end=SearchEnd("2 of 2 GPU hours are used", lets_go))

    assert status.state == state
    assert "ended     2 of 2 GPU hours are used" in status_lines(status)


def test_the_lines_say_how_good_the_leader_is_and_name_it_where_it_is_not_the_best(status: StudyStatus) -> None:
    assessment = Assessment(4, 0.69, Interval(0.68, 0.65, 0.71), 5)

    lines = status_lines(replace(status, assessment=assessment))

    start = lines.index("leader    trial 4 by all that is known; `foldrace export` takes it")
    assert lines[start + 1 : start + 4] == assessment.lines
    alike = status_lines(replace(status, assessment=replace(assessment, trial=1)))
    assert not any(line.startswith("leader") for line in alike)
    by_hand = replace(status, best=BestTrial(1, 0.7, {}, by_hand=True), assessment=assessment)
    assert "leader    trial 4 by all that is known; `foldrace export` takes trial 1" in status_lines(by_hand)


def test_the_task_of_a_worker_and_the_tasks_that_wait_are_told(status: StudyStatus) -> None:
    worker = replace(status.workers[0], owner="n1/48213_3:0123456789ab", host="n1")
    status = replace(status, workers=(worker,), queued=("48213_[5-7] waits on gpu (Resources)",))

    lines = status_lines(status)

    assert "queued    48213_[5-7] waits on gpu (Resources)" in lines
    assert any(line.startswith("worker    ") and "on n1, job 48213_3, pid" in line for line in lines)
    assert status.to_json()["workers"][0]["job"] == "48213_3"


def test_the_json_has_the_keys_that_scripts_read(status: StudyStatus) -> None:
    told = json.loads(json.dumps(status.to_json()))

    keys = "name control trials evaluations best first seconds_each finals workers failures orphans metric fold_epochs"
    keys += " state edited baseline seconds_left used ahead converged end priors rescores aside assessment queued"
    assert list(told) == keys.split()
    assert told["best"] == {"number": 1, "value": 0.7, "knobs": {"gamma": 0.51239, "epochs": 9}, "by_hand": False}
    assert told["finals"] == [
        {"name": "small/final-1", "folds": 8, "ended": 3, "failed": 1, "mean": 0.71, "is_scored": True}
    ]
    assert told["fold_epochs"] == {"spent": 30.0, "saved": 90.0}
    assert told["ahead"] == {"gain": 0.004, "error": 0.01, "spread": 0.03, "trials": 9, "rise": None}
    assert told["used"] == {"gpu_hours": 1.5, "fold_epochs": 30.0, "without_better": 2, "best": 0.7}
    assert (told["converged"], told["end"]) == (False, None)
    assert told["orphans"] == [{"number": 6, "fold": None, "attempt": 2, "owner": "host:2", "why": "its worker died"}]
    assert told["workers"][0]["silent_seconds"] == 3


def test_status_says_what_goes_on(status: StudyStatus) -> None:
    def state(trials: dict[State, int], control: Control = "running", silent: float = 3, stopped: bool = False) -> str:
        worker = replace(status.workers[0], silent_seconds=silent, stopped=stopped)
        changed = replace(status, trials=trials, control=control, workers=(worker,), orphans=())
        return status_lines(changed)[0].partition("(")[2].partition(")")[0]

    left: dict[State, int] = {"COMPLETE": 3, "WAITING": 1}
    assert state(left) == "running"
    assert state(left, "paused") == "paused"
    assert state(left, "pausing") == "pausing"  # its worker is still in a trial
    assert state(left, "pausing", stopped=True) == "paused"
    assert state(left, silent=61) == "no workers"
    assert state(left, stopped=True) == "no workers"
    assert state(left, "stopping") == "stopping"
    assert state(left, "stopping", stopped=True) == "stopped"
    assert state({"COMPLETE": 3, "PRUNED": 1}, "stopping") == "done"


def test_the_live_view_fits_eighty_columns_and_compares_with_the_best(status: StudyStatus) -> None:
    lines = rendered(status)

    assert max(map(len, lines)) <= 80
    assert lines[0].split()[0] == "small"
    assert "6 of 13 done" in lines[0]
    assert lines[1].strip() == "3 complete, 2 pruned, 1 fail, 1 running, 5 waiting, 1 to be adopted"
    assert lines[2] == "best     accuracy 0.7000, trial 1, +0.0500 against the baseline"
    assert lines[3] == "compute  30 fold-epochs spent, 90 (75%) saved by pruning"
    assert re.search(r"cuda:0 7\s+4\s+2\s+3\.1/8 .*0\.7100 \+0\.0100\s+512", lines[-1])


def test_the_live_view_of_a_final_job_names_no_best_fold(status: StudyStatus) -> None:
    told = "\n".join(rendered(replace(status, name="small/final-1")))
    assert "best" not in told


def test_the_folds_of_the_finals_are_part_of_the_time_left(status: StudyStatus) -> None:
    """Of 20 folds in 7 trials each took 42 s; those that were put aside have seven left, of which ten may be asked."""
    aside = replace(status, trials=status.trials | {"RUNNING": 4}, aside={5: 1, 6: 2})

    assert status.study.folds.count == 5
    assert aside.seconds_left == 6 * 120
    assert replace(aside, finals_left=10).seconds_left == 6 * 120 + 7 * 42
    assert replace(aside, finals_left=3).seconds_left == 6 * 120 + 3 * 42
    over = replace(aside, trials={"COMPLETE": 3, "PRUNED": 2, "RUNNING": 2}, finals_left=1)
    assert over.seconds_left == 42


def test_a_fold_of_a_job_goes_by_its_place_among_them(status: StudyStatus) -> None:
    job = replace(status, name="small/rescore-1")

    assert minute_line(job).startswith("fold 5 of 13, epoch 3.1 of 8, accuracy 0.7100")
    starting = replace(job, workers=(replace(status.workers[0], epoch=None),))
    assert minute_line(starting).startswith("fold 5 of 13, starting")


def test_nobody_at_work_has_no_time_left(status: StudyStatus) -> None:
    assert replace(status, workers=()).seconds_left is None


def test_a_dead_worker_halves_no_time_and_is_not_shown_at_work(status: StudyStatus) -> None:
    dead = replace(status.workers[0], pid=8, silent_seconds=61)
    both = replace(status, workers=(*status.workers, dead))

    assert both.seconds_left == status.seconds_left
    assert rendered(both) == rendered(status)
    assert any("pid 8, last sign 61 s ago" in line for line in status_lines(both))


def test_workers_that_crash_before_there_is_a_study_are_told(tmp_path: Path) -> None:
    slot = Slot(0, "cpu", 1)
    worker = WorkerView(slot, "given up", None, 4, "worker 0 (cpu): given up", ("ImportError: no torch",), tmp_path)

    assert rendered(None, Snapshot((worker,), "")) == [
        "preparing the data and the model",
        "worker 0 (cpu): given up",
        "    ImportError: no torch",
    ]


def rendered(status: StudyStatus | None, snapshot: Snapshot = QUIET) -> list[str]:
    console = Console(width=80, record=True, force_terminal=False)
    console.print(live_view(status, snapshot))
    return [line.rstrip() for line in console.export_text().splitlines()]
