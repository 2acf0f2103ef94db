"""The pruner of a study judges without writing: what it stores goes through the claim's fence."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import optuna
import pytest

from foldrace.search.race.factory import make_pruner
from foldrace.search.race.space import make_search_space
from foldrace.search.study_store import open_study
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import LeaseLost, Trials, TrialsSettings
from foldrace.storage import optuna_rows
from foldrace.storage.database import Database
from foldrace.studies.study import Study
from tests.support.claims import must_claim
from tests.support.records import record_at

PRUNERS = ["racing", "median", "successive_halving", "hyperband"]
WRITING = ["successive_halving", "hyperband"]
View = Callable[..., Trials]


@pytest.fixture
def claim_of(database: Database, make_study: Callable[..., Study], trials_of: View) -> Callable[[str], Claim]:
    """A claimed trial of a study with a pruner; it has reported as much as Optuna's pruners wait for."""

    def make(pruner: str) -> Claim:
        study = make_study(trials=1, pruner=pruner)
        open_study(database, study)
        claim = must_claim(trials_of(study, TrialsSettings(pruner=make_pruner(study))))
        for step in range(39):
            claim.report(step // 8, 0.5, record_at(step % 8, 0.5))
        return claim

    return make


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_pruner_decides_and_stores_what_it_does_with_plain_optuna(
    database: Database, make_study: Callable[..., Study], trials_of: View, pruner: str
) -> None:
    study = make_study(trials=8, pruner=pruner)
    open_study(database, study)
    trials = trials_of(study, TrialsSettings(pruner=make_pruner(study)))
    plain = optuna.create_study(study_name="small", direction="maximize", pruner=make_pruner(study))
    draw = random.Random(0)
    pruned = 0
    for _ in range(8):
        claim = must_claim(trials)
        plain.enqueue_trial(claim.sampled)
        trial = plain.ask(make_search_space(study.searched))
        level, reason = draw.random(), None
        for step in range(40):
            estimate = level + draw.gauss(0, 0.02)
            record = record_at(step % 8, estimate)
            claim.report(step // 8, estimate, record)
            trial.set_user_attr(optuna_rows.cell_key(step // 8, step % 8), record.to_json())
            trial.report(estimate, step)
            reason = claim.reason_to_prune()
            assert (reason is not None) == trial.should_prune(), step
            if reason is not None:
                break
        pruned += reason is not None
        claim.prune(reason) if reason is not None else claim.finish(level)
        plain.tell(trial, *([None, optuna.trial.TrialState.PRUNED] if reason is not None else [level]))

    ours = database.storage.get_all_trials(database.storage.get_study_id_from_name("small"))
    assert 0 < pruned < 8
    assert [rungs(t.system_attrs) for t in ours] == [rungs(t.system_attrs) for t in plain.trials]
    assert any(rungs(t.system_attrs) for t in ours) == (pruner in WRITING)


def rungs(attrs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attrs.items() if key.startswith("completed_rung")}


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_stale_judge_writes_nothing_and_is_told_that_its_trial_is_lost(
    database: Database, claim_of: Callable[[str], Claim], trials_of: View, make_study: Callable[..., Study], pruner: str
) -> None:
    stale = claim_of(pruner)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stale, "_give_up", lambda: None)  # as one that does not know yet
        stale.abandon("its worker was frozen")
    adopter = must_claim(trials_of(make_study(trials=1, pruner=pruner)))
    adopter.finish(0.5)

    with pytest.raises(LeaseLost):
        stale.reason_to_prune()

    assert not rungs(database.storage.get_trial(1).system_attrs)


@pytest.mark.parametrize("storage_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("pruner", ["racing", "median"])
def test_judging_waits_for_no_writer(database: Database, claim_of: Callable[[str], Claim], pruner: str) -> None:
    claim = claim_of(pruner)
    with ThreadPoolExecutor(1) as pool, database.engine.connect() as writer:
        writer.begin()  # BEGIN IMMEDIATE: it holds the write lock until the judge has answered

        judged = pool.submit(claim.reason_to_prune)

        assert judged.result(timeout=30) is None
        writer.rollback()
