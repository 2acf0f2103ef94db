"""The queue is the budget, each trial is claimed once, and an orphaned one is adopted where it stood."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import ForkContext
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from foldrace.search.ensemble.export import select_trial
from foldrace.search.study_store import FinalFold, name_of_run, open_study, public_toml, queue_folds, stored_study
from foldrace.search.trials.claims import Claim, LeaseLost, Trials, TrialsSettings
from foldrace.search.trials.heartbeat import HeartbeatSettings
from foldrace.search.trials.outage_notes import OutageNotes
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.errors import OutageError, StorageError
from foldrace.storage.leases import lease as leases
from foldrace.storage.workers import WorkerIdentity, read_control, set_control
from foldrace.studies.identity import Identity
from foldrace.studies.study import Study
from tests.support.claims import NO_HEARTBEAT, must_claim, on_clock
from tests.support.records import record_at

LEASE = 60.0
View = Callable[..., Trials]
MakeStudy = Callable[..., Study]


def states(database: Database, name: str = "small") -> list[str]:
    study = optuna.load_study(study_name=name, storage=database.storage)
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


def watch(trials: Trials, now: list[float], seconds: float = LEASE) -> None:
    """Look at the leases every ten seconds; whatever is claimed meanwhile is released again."""
    for _ in range(int(seconds // 10)):
        claim = trials.claim()
        if claim is not None:
            claim.release()
        now[0] += 10


# The queue


def test_the_baseline_comes_first_and_the_rest_is_sampled(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    study = make_study(trials=3, baseline={"gamma": 0.5, "epochs": 7})
    open_study(database, study)
    sampled = [must_claim(trials_of(study)).sampled for _ in range(3)]
    assert sampled[0] == {"gamma": 0.5, "epochs": 7}
    assert all(0.4 <= float(s["gamma"]) <= 1.0 and 5 <= int(s["epochs"]) <= 40 for s in sampled[1:])
    assert trials_of(study).claim() is None


def test_further_baselines_come_next_and_race(database: Database, make_study: MakeStudy, trials_of: View) -> None:
    baselines = [{"gamma": 0.5, "epochs": 7}, {"gamma": 0.6}, {"epochs": 9}]
    study = make_study(trials=4, baseline=baselines)
    open_study(database, study)

    sampled = [must_claim(trials_of(study)).sampled for _ in range(4)]

    assert sampled[0] == baselines[0]
    assert (sampled[1]["gamma"], sampled[2]["epochs"]) == (0.6, 9)
    races = [trial.user_attrs.get("races", False) for trial in database.storage.get_all_trials(1)]
    assert races == [False, True, True, False]


def queue_in_a_process(url: str, study: Study) -> None:
    database = Database.open(url)
    open_study(database, study)
    database.close()


@pytest.mark.parametrize("processes", [1, 16])
def test_the_budget_is_exact_however_many_queue_it(
    database: Database, storage_url: str, make_study: MakeStudy, forks: ForkContext, processes: int
) -> None:
    for budget in (30, 50):
        with forks.Pool(processes) as pool:
            pool.starmap(queue_in_a_process, [(storage_url, make_study(trials=budget))] * processes, chunksize=1)
        numbers = [trial.number for trial in database.storage.get_all_trials(1)]
        assert numbers == list(range(budget))


def test_a_study_with_other_settings_is_refused(database: Database, make_study: MakeStudy) -> None:
    open_study(database, make_study())
    open_study(database, make_study(trials=5, pruner="none"))
    with pytest.raises(StorageError, match=r"search\.seed is 1, was 0; --as NEW_NAME"):
        open_study(database, make_study(seed=1))
    told = r"search\.seed is 1, was 0; give what it was begun with$"
    with pytest.raises(StorageError, match=told):
        select_trial(database, make_study(seed=1))


def test_a_study_that_foldrace_did_not_make_is_refused(database: Database, make_study: MakeStudy) -> None:
    optuna.create_study(storage=database.storage, study_name="small")
    with pytest.raises(StorageError, match="not made by foldrace"):
        open_study(database, make_study())


def test_what_is_stored_of_a_study_has_no_password(database: Database, make_study: MakeStudy) -> None:
    study = make_study(storage="postgresql+psycopg://me:canary@host/db?sslpassword=canary&sslmode=require")
    open_study(database, study)
    stored = stored_study(database, "small")
    assert (stored.identity, stored.toml) == (Identity.of(study), public_toml(study))
    assert "postgresql+psycopg://me@host/db?sslmode=require" in public_toml(study)
    assert "canary" not in str(database.storage.get_study_user_attrs(1))


def test_ids_of_a_deleted_study_bring_nothing_back(database: Database, make_study: MakeStudy, trials_of: View) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    must_claim(trials_of(study)).note_checkpoint()
    set_control(database, "small", "stopping")
    database.storage.delete_study(1)
    open_study(database, study)
    assert must_claim(trials_of(study)).attempt == 1


# Claiming


def claim_all(url: str, study: Study) -> list[int]:
    database = Database.open(url)
    trials = Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
    numbers = []
    while (claim := trials.claim()) is not None:
        numbers.append(claim.number)
    database.close()
    return numbers


def test_sixteen_workers_claim_each_trial_once(
    database: Database, storage_url: str, make_study: MakeStudy, forks: ForkContext
) -> None:
    study = make_study(trials=200)
    open_study(database, study)
    with forks.Pool(16) as pool:
        claimed = pool.starmap(claim_all, [(storage_url, study)] * 16, chunksize=1)
    assert sorted(number for numbers in claimed for number in numbers) == list(range(200))
    assert states(database) == ["RUNNING"] * 200


def test_a_draw_is_determined_by_seed_number_and_history(tmp_path: Path, make_study: MakeStudy) -> None:
    runs = []
    for run, seed in enumerate((7, 7, 8)):
        database = Database.open(f"sqlite:///{tmp_path / f'{run}.db'}")
        study = make_study(trials=14, seed=seed)
        open_study(database, study)
        drawn = []
        for number in range(14):
            claim = must_claim(Trials(database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT))
            drawn.append(claim.sampled)
            claim.finish(number / 14)
        runs.append(drawn)
        database.close()
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert len({str(values) for values in runs[0]}) == 14


def test_trials_in_flight_are_drawn_apart(database: Database, make_study: MakeStudy, trials_of: View) -> None:
    study = make_study(trials=16)
    open_study(database, study)
    for number in range(12):
        must_claim(trials_of(study)).finish(number / 12)
    in_flight = [must_claim(trials_of(study)).sampled for _ in range(4)]
    assert len({str(values) for values in in_flight}) == 4


def test_pause_and_stop_reach_all_and_resume_goes_on(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    study = make_study()
    open_study(database, study)
    trials, claim = trials_of(study), must_claim(trials_of(study))
    set_control(database, "small", "paused")
    assert (trials.claim(), trials.is_over()) == (None, False)
    assert (claim.beat(), claim.release_requested) == (True, False)
    set_control(database, "small", "pausing")
    assert (trials.claim(), trials.is_over()) == (None, False)
    assert (claim.beat(), claim.release_requested) == (True, True)
    set_control(database, "small", "stopping")
    assert (trials.claim(), trials.is_over()) == (None, True)
    assert (claim.beat(), claim.release_requested) == (True, True)
    set_control(database, "small", "running")
    assert must_claim(trials).number == 1


def test_a_final_job_is_asked_with_its_study_or_without_one_or_left_out(
    database: Database, make_study: MakeStudy
) -> None:
    def asked() -> list[str]:
        return database.read(lambda c: [read_control(c, optuna_rows.find_study_id(c, name)) for name in names])

    study = make_study(baseline={"gamma": 0.5, "epochs": 9}).with_fixed({"gamma": 0.5, "epochs": 9})
    names = [queue_folds(database, study, [FinalFold(0, 77)])]
    set_control(database, "small", "paused")
    assert asked() == ["paused"]
    assert name_of_run(database, "small") == "small/final-1"
    open_study(database, make_study())
    names.append("small")
    set_control(database, "small", "stopping", finals=False)
    assert asked() == ["paused", "stopping"]
    set_control(database, "small", "running")
    assert asked() == ["running", "running"]
    assert name_of_run(database, "small") == "small"


def test_an_unknown_study_is_named_with_those_there_are(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    for name in ("another", "small"):
        open_study(database, make_study(name))
    told = "there: small, another; foldrace run with its study file begins it$"
    with pytest.raises(StorageError, match=f"no study smal; {told}"):
        trials_of(make_study("smal"))
    with pytest.raises(StorageError, match="no study other"):
        set_control(database, "other", "paused")


def test_a_lease_shorter_than_three_heartbeats_is_refused(database: Database, make_study: MakeStudy) -> None:
    with pytest.raises(StorageError, match=r"search\.lease_seconds: 20 .* at least 30"):
        Trials(database, make_study(lease_seconds=20), WorkerIdentity())


# Adopting


def test_a_dead_workers_trial_goes_on_where_it_stood(
    database: Database, make_study: MakeStudy, trials_of: View, now: list[float]
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    dead, survivor = must_claim(trials_of(study)), trials_of(study)
    dead.report(0, 0.7, record_at(3, 0.7))
    watch(survivor, now)
    adopted = must_claim(survivor)
    assert (adopted.number, adopted.attempt) == (dead.number, 2)
    assert adopted.sampled == dead.sampled
    assert adopted.evaluations == {(0, 3): record_at(3, 0.7)}
    assert adopted.trial.params == dead.sampled
    assert states(database) == ["RUNNING"]


def test_a_trial_whose_draw_was_never_stored_is_drawn_by_its_adopter(
    database: Database, make_study: MakeStudy, trials_of: View, monkeypatch: pytest.MonkeyPatch, now: list[float]
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    with monkeypatch.context() as patch:
        patch.setattr(
            "foldrace.search.sampler.sampling.Sampler.sample", lambda *_: (_ for _ in ()).throw(MemoryError("no room"))
        )
        with pytest.raises(MemoryError):
            trials_of(study).claim()
    assert set(must_claim(trials_of(study)).sampled) == {"gamma", "epochs"}


def test_a_living_workers_trial_is_left_alone(
    database: Database, make_study: MakeStudy, trials_of: View, now: list[float]
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    alive, other = must_claim(trials_of(study)), trials_of(study)
    for _ in range(30):
        assert other.claim() is None
        assert alive.beat()
        now[0] += 10


def test_a_clock_that_is_wrong_by_an_hour_takes_no_trial(
    database: Database, make_study: MakeStudy, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    alive = must_claim(Trials(database, study, WorkerIdentity(), heartbeat=on_clock(now)))
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + 3600)
    ahead = Trials(database, study, WorkerIdentity(), heartbeat=HeartbeatSettings(0, lambda: now[0] + 3600))
    for _ in range(12):
        assert ahead.claim() is None
        assert alive.beat()
        now[0] += 10


def test_a_zombies_late_writes_are_refused(
    database: Database, make_study: MakeStudy, trials_of: View, now: list[float]
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    zombie, survivor = must_claim(trials_of(study)), trials_of(study)
    watch(survivor, now)
    adopted = must_claim(survivor)
    adopted.report(0, 0.9, record_at(0, 0.9))
    with pytest.raises(LeaseLost):
        zombie.report(0, 0.1, record_at(0, 0.1))
    with pytest.raises(LeaseLost):
        zombie.note_checkpoint()
    assert (zombie.alive, zombie.beat(), zombie.finish(0.1)) == (False, False, False)
    assert adopted.finish(0.9)
    trial = database.storage.get_trial(1)
    assert (trial.value, trial.intermediate_values, trial.user_attrs["fold0/eval0"]["best"]) == (0.9, {0: 0.9}, 0.9)


def test_a_released_trial_is_adopted_at_once_and_never_counts(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    for attempt in range(1, 8):
        claim = must_claim(trials_of(study))
        assert claim.attempt == attempt
        claim.release()
    assert states(database) == ["RUNNING"]


def patiently(trials: Trials, now: list[float]) -> Claim:
    """What a worker claims that looks every ten seconds, for a little more than a lease time."""
    for _ in range(8):
        claim = trials.claim()
        if claim is not None:
            return claim
        now[0] += 10
    raise AssertionError("nothing to claim")


def test_workers_that_die_while_they_claim_do_not_count(
    database: Database, make_study: MakeStudy, trials_of: View, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    monkeypatch.setattr(Trials, "_begin", lambda _, lease: lease)  # here they die: nothing is drawn yet
    for _ in range(4):
        dead = WorkerIdentity()
        assert Trials(database, study, dead, heartbeat=NO_HEARTBEAT).claim() is not None
        leases.mark_orphaned(database, dead.owner, "killed", is_attempt=True)
    for _ in range(4):
        patiently(trials_of(study), now)
    monkeypatch.undo()

    assert patiently(trials_of(study), now).attempt == 9


def test_three_attempts_without_progress_fail_a_trial_with_its_last_error(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    for attempt in range(1, 4):
        with suppress(ZeroDivisionError), must_claim(trials_of(study)):
            raise ZeroDivisionError(f"error {attempt}")
    assert trials_of(study).claim() is None
    trial = database.storage.get_trial(1)
    assert trial.state.name == "FAIL"
    assert trial.user_attrs["failure"].endswith("the last one: ZeroDivisionError: error 3")
    assert trial.user_attrs["attempts"] == 3


def test_an_error_of_an_attempt_is_not_taken_for_that_of_the_next(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    must_claim(trials_of(study)).abandon("its error")
    must_claim(trials_of(study))
    with database.engine.connect() as connection:
        assert connection.execute(sa.select(tables.leases.c.note)).scalars().all() == [None]


def test_attempts_that_each_leave_something_never_fail_a_trial(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    for attempt in range(12):
        claim = must_claim(trials_of(study))
        claim.note_checkpoint() if attempt % 2 else claim.report(0, 0.5, record_at(attempt, 0.5))
        claim.abandon("killed")
    assert must_claim(trials_of(study)).attempt == 13


def test_an_evaluation_that_was_there_already_is_no_progress(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    for _ in range(4):
        claim = must_claim(trials_of(study))
        claim.report(0, 0.5, record_at(0, 0.5))
        claim.abandon("killed")
    assert trials_of(study).claim() is None
    assert states(database) == ["FAIL"]


def test_attempts_that_an_outage_interrupts_never_count(
    database: Database, make_study: MakeStudy, trials_of: View, tmp_path: Path
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    settings = TrialsSettings(outages=OutageNotes(tmp_path / "outages"))
    for _ in range(4):
        with suppress(OutageError), must_claim(trials_of(study, settings)):
            raise OutageError("no answer for ten minutes")
    assert must_claim(trials_of(study, settings)).attempt == 5
    assert states(database) == ["RUNNING"]


def test_attempts_whose_worker_lives_never_count_though_others_took_it_for_dead(
    database: Database, make_study: MakeStudy, trials_of: View, now: list[float]
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    cut_off = must_claim(trials_of(study))
    for attempt in range(2, 8):
        adopted = patiently(trials_of(study), now)
        assert adopted.attempt == attempt
        with pytest.raises(LeaseLost):
            cut_off.note_checkpoint()
        cut_off.release()
        cut_off = adopted
    assert states(database) == ["RUNNING"]


@pytest.mark.parametrize(("is_attempt", "fruitless"), [(True, 1), (False, 0)])
def test_the_trial_of_a_worker_known_to_be_dead_is_adopted_at_once(
    database: Database, make_study: MakeStudy, trials_of: View, is_attempt: bool, fruitless: int
) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    worker = WorkerIdentity()
    dead = must_claim(Trials(database, study, worker, heartbeat=NO_HEARTBEAT))
    leases.mark_orphaned(database, worker.owner, "killed by signal 9", is_attempt)
    assert must_claim(trials_of(study)).number == dead.number
    with database.engine.connect() as connection:
        assert connection.execute(sa.select(tables.leases.c.fruitless)).scalars().all() == [fruitless]


def test_a_heart_beats_by_itself_and_stops_with_its_claim(database: Database, make_study: MakeStudy) -> None:
    study = make_study(trials=1)
    open_study(database, study)
    claim = must_claim(Trials(database, study, WorkerIdentity(), heartbeat=HeartbeatSettings(0.01)))
    counter = sa.select(tables.leases.c.counter)
    deadline = threading.Event()
    while database.read(lambda connection: connection.execute(counter).scalar_one()) < 3:
        assert not deadline.wait(0.01)
    claim.finish(0.5)
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


# Final jobs


def test_each_fold_of_a_final_is_queued_once_and_again_when_it_failed(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    study = make_study().with_fixed({"gamma": 0.5, "epochs": 7})
    folds = [FinalFold(fold, seed) for seed in (77, 78) for fold in range(2)]
    name = queue_folds(database, study, folds)
    claims = [must_claim(trials_of(study, TrialsSettings(name))) for _ in folds]
    assert [FinalFold(c.user_attrs["fold"], c.user_attrs["seed"]) for c in claims] == folds
    assert all(claim.sampled == {} for claim in claims)
    claims[1].fail("no memory")
    claims[2].finish(0.5)
    assert queue_folds(database, study, folds) == name
    again = must_claim(trials_of(study, TrialsSettings(name)))
    assert (again.number, again.user_attrs) == (4, {"fold": 1, "seed": 77})
    assert trials_of(study, TrialsSettings(name)).claim() is None
    queue_folds(database, study, folds, lost=[folds[2], folds[3]])  # one complete, one that still runs
    assert must_claim(trials_of(study, TrialsSettings(name))).user_attrs == {"fold": 0, "seed": 78}
    assert trials_of(study, TrialsSettings(name)).claim() is None
    assert [study.study_name for study in database.storage.get_all_studies()] == ["small/final-1"]


def test_asking_a_study_to_stop_stops_its_final_jobs(
    database: Database, make_study: MakeStudy, trials_of: View
) -> None:
    open_study(database, make_study())
    fixed = make_study().with_fixed({"gamma": 0.5, "epochs": 7})
    name = queue_folds(database, fixed, [FinalFold(0, 77)])
    set_control(database, "small", "stopping")
    assert trials_of(fixed, TrialsSettings(name)).is_over()
