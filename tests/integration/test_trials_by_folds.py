"""Folds are claimed one by one: each is trained once, a trial ends with its last, and what is put aside is ended."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from foldrace.search.ending import read_end, read_usage
from foldrace.search.ensemble.export import ExportError, exported_text, select_trial
from foldrace.search.monitor.status_reader import read_status
from foldrace.search.monitor.trial_table import read_trial_table
from foldrace.search.sampler.history import History
from foldrace.search.study_store import open_study, stored_study
from foldrace.search.trials.claims import Claim, LeaseLost, Trials, TrialsSettings
from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.leases.acquiring import Leases
from foldrace.storage.leases.lease import DONE, Lease, read_folds
from foldrace.storage.leases.taking import Cell
from foldrace.storage.optuna_rows import count_finals
from foldrace.storage.tables import WHOLE
from foldrace.storage.workers import WorkerIdentity, set_control
from foldrace.studies.settings import Choices
from foldrace.studies.study import Study
from tests.support.claims import must_claim
from tests.support.lost_answers import lose_next_answer
from tests.support.records import record_at

FOLDS, EVALUATIONS = 2, 8
BY_FOLDS = TrialsSettings(by_folds=True)
View = Callable[[], Trials]
Open = Callable[..., View]


@pytest.fixture
def worker(database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials]) -> Open:
    """Opens a study and gives views of it, one for each worker."""

    def open_one(folds: int = FOLDS, **search: Any) -> View:
        study = make_study(**search)
        study = study.model_copy(update={"folds": study.folds.model_copy(update={"count": folds})})
        open_study(database, study)
        return lambda: trials_of(study, BY_FOLDS)

    return open_one


def train(claim: Claim, value: float) -> None:
    for index in range(EVALUATIONS):
        if (claim.fold, index) not in claim.evaluations:
            claim.report(claim.fold, value, record_at(index, value))


def end(claim: Claim, value: float) -> None:
    """What a worker does with a fold, or with a trial that was put aside."""
    if claim.is_over:
        claim.prune("put aside")
        return
    train(claim, value)
    if not claim.put_aside(FOLDS):
        claim.finish(value)


def states(database: Database) -> list[str]:
    return [trial.state.name for trial in database.storage.get_all_trials(1)]


def without_better(database: Database) -> int:
    study = stored_study(database, "small").parse()
    return database.read(lambda connection: read_usage(connection, 1, study, 0.0)).without_better


def test_each_trial_begins_with_its_first_fold(worker: Open) -> None:
    view = worker(trials=3)

    claims = [must_claim(view()) for _ in range(3)]

    assert [(claim.number, claim.fold) for claim in claims] == [(0, 0), (1, 0), (2, 0)]
    assert view().claim() is None


def test_the_sampler_knows_which_folds_are_trained_now(database: Database, worker: Open) -> None:
    view, history = worker(trials=3), History(database, 1)
    first, second = must_claim(view()), must_claim(view())
    end(first, 0.5)

    history.refresh()

    assert history.training == {second.number: {0}}


def test_a_search_of_one_configuration_has_folds_to_train(
    database: Database, make_study: Callable[..., Study], trials_of: Callable[..., Trials]
) -> None:
    study = make_study(trials=3).model_copy(update={"training": {"gamma": Choices(choices=(0.5,))}})
    open_study(database, study)
    view = trials_of(study, BY_FOLDS)
    for _ in range(4):  # each trial's first fold, and a further one
        end(must_claim(view), 0.5)


def test_a_fold_is_shown_from_its_beginning(database: Database, worker: Open) -> None:
    view = worker(trials=1)
    must_claim(view())

    (shown,) = [one for one in read_status(database, "small").workers if one.number is not None]

    assert (shown.number, shown.fold, shown.epoch) == (0, 0, 0.0)


def test_patience_counts_the_trials_that_were_put_aside_after_the_best_one(database: Database, worker: Open) -> None:
    view = worker(trials=6, patience=2, baseline={"gamma": 0.5, "epochs": 7})
    for _ in range(FOLDS):  # of the baseline
        end(must_claim(view()), 0.7)
    counts = []
    for value in (0.6, 0.5, 0.8, 0.75):
        end(must_claim(view()), value)
        counts.append(without_better(database))

    assert states(database)[:5] == ["COMPLETE", *4 * ["RUNNING"]]
    assert counts == [1, 2, 0, 1]


def test_who_has_the_target_in_its_folds_so_far_is_made_whole_at_once_and_ends_the_search(
    database: Database, worker: Open
) -> None:
    view, trained = worker(trials=9, target=0.7), []
    study = stored_study(database, "small").parse()
    for value in (0.6, 0.75, 0.6, 0.72, 0.71):  # by its second fold, trial 1 has it no more
        assert database.read(lambda connection: read_end(connection, 1, study)) is None
        claim = must_claim(view())
        trained.append((claim.number, claim.fold))
        end(claim, value)

    reached = database.read(lambda connection: read_end(connection, 1, study))
    assert trained == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert reached is not None
    assert reached.reason.startswith("accuracy 0.7100 has reached the target of 0.7")


def test_a_baseline_is_trained_whole_by_whoever_is_free(database: Database, worker: Open) -> None:
    view = worker(trials=2, baseline={"gamma": 0.5, "epochs": 7})
    first = must_claim(view())
    train(first, 0.5)
    assert first.put_aside(FOLDS)

    second = must_claim(view())
    train(second, 0.7)

    assert (second.number, second.fold, second.sampled) == (0, 1, {"gamma": 0.5, "epochs": 7})
    assert not second.put_aside(FOLDS)
    assert {point[0] for point in second.evaluations} == {0, 1}
    assert second.finish(0.6)
    assert database.storage.get_all_trials(1)[0].value == 0.6


def test_whoever_stops_a_trial_stops_its_other_folds(worker: Open) -> None:
    view = worker(trials=2, baseline={"gamma": 0.5, "epochs": 7})
    first = must_claim(view())
    train(first, 0.5)
    first.put_aside(FOLDS)
    one, other = must_claim(view()), must_claim(view())
    assert (one.number, one.fold, other.number, other.fold) == (0, 1, 1, 0)

    assert other.prune("worse")
    assert one.beat()
    assert one.fail("broken")
    with pytest.raises(LeaseLost):
        one.report(1, 0.5, record_at(0, 0.5))


def test_the_fold_of_a_dead_worker_is_adopted_where_it_stood(worker: Open, now: list[float]) -> None:
    view = worker(trials=1)
    dead, heir = must_claim(view()), view()
    dead.report(0, 0.5, record_at(0, 0.5))
    dead.note_checkpoint()

    for _ in range(7):
        claim = heir.claim()
        now[0] += 10

    assert claim is not None
    assert (claim.number, claim.fold, claim.attempt, list(claim.evaluations)) == (0, 0, 2, [(0, 0)])
    assert not dead.beat()


def test_of_two_that_finish_the_last_folds_at_once_one_ends_the_trial(worker: Open) -> None:
    view = worker(trials=1)
    end(must_claim(view()), 0.5)
    last = must_claim(view())
    train(last, 0.5)

    assert not last.put_aside(FOLDS)  # asked twice, as when the answer of the database was lost
    assert not last.put_aside(FOLDS)
    assert last.finish(0.5)


def test_a_fold_whose_acknowledgement_is_lost_counts_once(
    database: Database, worker: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = worker(folds=3, trials=1, baseline={"gamma": 0.5, "epochs": 7})
    for _ in range(2):
        claim = must_claim(view())
        train(claim, 0.5)
        lose_next_answer(database, monkeypatch)
        assert claim.put_aside(3)

    last = must_claim(view())
    train(last, 0.5)
    assert not last.put_aside(3)
    assert {point[0] for point in last.evaluations} == {0, 1, 2}


@pytest.mark.parametrize("give_back", [Claim.release, lambda claim: claim.abandon("an error after its last word")])
def test_a_fold_that_is_done_cannot_be_given_back(
    database: Database, worker: Open, give_back: Callable[[Claim], None]
) -> None:
    view = worker(trials=1)
    claim = must_claim(view())
    end(claim, 0.5)

    give_back(claim)

    assert database.read(lambda connection: read_folds(connection, 1)) == {1: {0: DONE}}


def test_a_trial_that_is_put_aside_runs_and_is_shown_so(database: Database, worker: Open) -> None:
    view = worker(trials=3)
    for value in (0.5, 0.7, 0.6):
        end(must_claim(view()), value)

    status = read_status(database, "small")

    assert states(database) == ["RUNNING"] * 3
    assert status.aside == {0: 1, 1: 1, 2: 1}
    assert not status.orphans
    assert "aside     1 fold of trials 0, 1, 2" in str(status)


def test_a_search_leaves_no_trial_running(database: Database, worker: Open) -> None:
    view = worker(trials=4, finals=1)
    trials = view()
    for step in range(40):
        claim = trials.claim()
        if claim is None:
            break
        end(claim, 0.5 + 0.05 * claim.number + 0.001 * step)

    assert trials.is_over()
    assert sorted(states(database)) == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
    assert database.read(lambda connection: read_folds(connection, 1)) == {}
    assert database.storage.get_all_trials(1)[3].state.name == "COMPLETE"  # the best of them was made whole


def test_no_more_folds_go_to_the_finals_than_are_asked_for_however_many_workers_rank_alike(
    database: Database, worker: Open
) -> None:
    view, workers = worker(trials=6, finals=2), 6
    for _ in range(workers):
        end(must_claim(view()), 0.5)
    together = Barrier(workers)

    def take(trial_id: int) -> Lease | None:
        together.wait()
        return Leases(database, 1, WorkerIdentity(), 60, lambda: 0.0).acquire([Cell(trial_id, 1, is_final=True)], 2)

    with ThreadPoolExecutor(workers) as pool:
        taken = list(pool.map(take, range(1, workers + 1)))

    assert sum(lease is not None for lease in taken) == 2
    assert database.read(lambda connection: count_finals(connection, 1)) == 2


def test_nothing_is_ended_while_somebody_trains_or_all_are_paused(database: Database, worker: Open) -> None:
    view = worker(trials=2, finals=0)
    end(must_claim(view()), 0.5)
    running = must_claim(view())
    assert view().claim(only_adopt=True) is not None  # the leader's missing fold
    assert view().claim(only_adopt=True) is None
    assert states(database) == ["RUNNING", "RUNNING"]

    set_control(database, "small", "paused")
    running.release()
    assert view().claim() is None
    assert states(database) == ["RUNNING", "RUNNING"]


def test_a_trial_that_was_begun_whole_goes_on_so(database: Database, worker: Open) -> None:
    view = worker(trials=2)
    claim = must_claim(view())
    claim.release()
    as_before = sa.update(tables.leases).values(fold=WHOLE)  # as the version before leased it
    database.transact(lambda connection: connection.execute(as_before))

    again, new = must_claim(view()), must_claim(view())

    assert (again.number, again.fold, again.attempt) == (0, WHOLE, 2)
    assert (new.number, new.fold) == (1, 0)


@dataclass
class Actor:
    trials: Trials
    claim: Claim | None = None


def test_no_history_trains_a_fold_twice(worker: Open, database: Database, now: list[float]) -> None:
    """Six workers claim, report, freeze, release and die at random; who froze goes on as if nothing had been."""
    chance, view = random.Random(1), worker(trials=8, finals=3)
    actors, trained = [Actor(view()) for _ in range(6)], list[tuple[int, int, int]]()
    for _ in range(1500):
        now[0] += chance.choice((0, 1, 5))
        actor = chance.choice(actors)
        for one in actors:
            if one.claim is not None and one.claim.alive and chance.random() < 0.7:
                one.claim.beat()
        if actor.claim is None or not actor.claim.alive:
            actor.claim = actor.trials.claim()
            if actor.claim is None and actor.trials.is_over():
                break
            continue
        if chance.random() < 0.06:
            actors[actors.index(actor)] = Actor(view())  # dead: nobody hears of it again
            continue
        try:
            if not step(actor.claim, chance, trained):
                actor.claim = None
        except LeaseLost:
            actor.claim = None

    ended = database.storage.get_all_trials(1)
    assert all(trial.state.is_finished() for trial in ended)
    assert len(trained) == len(set(trained))
    for trial in ended:
        if trial.state.name == "COMPLETE":
            assert len(trial.intermediate_values) == FOLDS * EVALUATIONS
            assert {(trial.number, *point) for point in product(range(FOLDS), range(EVALUATIONS))} <= set(trained)
    assert any(trial.state.name == "COMPLETE" for trial in ended)


def step(claim: Claim, chance: random.Random, trained: list[tuple[int, int, int]]) -> bool:
    """One act of a worker; False: it has done with the claim."""
    if claim.is_over:
        claim.prune("put aside")
        return False
    missing = [index for index in range(EVALUATIONS) if (claim.fold, index) not in claim.evaluations]
    if chance.random() < 0.05:
        claim.release()
        return False
    if missing:
        claim.report(claim.fold, 0.5, record_at(missing[0], 0.5 + claim.number / 100))
        trained.append((claim.number, claim.fold, missing[0]))
        return True
    if claim.fold == 0 and chance.random() < 0.2:
        claim.prune("worse")
        return False
    if not claim.put_aside(FOLDS):
        claim.finish(0.5 + claim.number / 100)
    return False


def test_what_is_believed_best_is_exported_while_it_is_put_aside(database: Database, worker: Open) -> None:
    view = worker(trials=4)
    for value in (0.5, 0.7, 0.6):
        end(must_claim(view()), value)
    study = stored_study(database, "small").parse()

    selected = select_trial(database, study)

    assert (selected.number, selected.value, selected.folds) == (1, 0.7, (0.7,))
    assert "evaluations of 1 of 2 of its folds (0.7000)" in exported_text(study, selected, Path("f"))


def test_a_trial_that_is_not_there_or_not_done_is_told_with_those_that_can_be_exported(
    database: Database, worker: Open
) -> None:
    view = worker(trials=4)
    for value in (0.5, 0.7):
        end(must_claim(view()), value)
    study = stored_study(database, "small").parse()

    for name, told in (
        ("3", "study small: trial 3 is waiting; complete or put aside: 0, 1"),
        ("99", "study small: trial 99 is not there; complete or put aside: 0, 1"),
        ("abc", "--trial abc: expected a number, or RUN/NUMBER of a trial that was taken over"),
        ("old/best", "--trial old/best: expected a number, or RUN/NUMBER of a trial that was taken over"),
    ):
        with pytest.raises(ExportError, match=f"^{told}$"):
            select_trial(database, study, name)


def test_the_table_of_trials_says_which_are_put_aside(database: Database, worker: Open) -> None:
    view = worker(trials=2)
    first = must_claim(view())
    train(first, 0.5)
    assert first.put_aside(FOLDS)
    must_claim(view())

    rows = read_trial_table(database, "small").rows

    assert [(row.state, row.reason) for row in rows] == [("RUNNING", "put aside"), ("RUNNING", "")]
