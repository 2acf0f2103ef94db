"""The log says how a trial ended, and whether its end was stored."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from foldrace.search.recording.recorder import Recorder
from foldrace.search.study_store import open_study
from foldrace.search.trials.assignment import Assignment
from foldrace.search.trials.claims import Claim, Trials
from foldrace.search.workers.trial_run import TrialRun
from foldrace.storage.database import Database
from foldrace.studies.study import Study
from foldrace.trainer.data.folds import FoldPlan
from tests.support.claims import must_claim
from tests.support.lost_answers import lose_next_answer
from tests.support.records import record_at

ENDS: dict[str, Callable[[TrialRun], object]] = {
    "trial 0 complete": lambda run: run.finish(),
    "trial 0 pruned": lambda run: run.prune(),
    "trial 0 failed": lambda run: run.fail("its loss is not finite"),
}


class FakeRecorder:
    """Does `meanwhile` when a trial is about to end."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile, self.has_discarded = meanwhile, False

    def record_end(self, *_: object, **__: object) -> None:
        self._meanwhile()

    def discard(self) -> None:
        self.has_discarded = True


@pytest.fixture
def study(database: Database, make_study: Callable[..., Study]) -> Study:
    study = make_study(trials=1)
    open_study(database, study)
    return study


def run_of(claim: Claim, study: Study, recorder: FakeRecorder, monkeypatch: pytest.MonkeyPatch) -> TrialRun:
    """A trial with one fold done, which its pruner would stop."""
    monkeypatch.setattr(claim, "reason_to_prune", lambda: "no better")
    folder = study.data.files["train"][0].parent
    assignment = Assignment(
        study.defaults, cast(FoldPlan, SimpleNamespace(count=1)), (0,), lambda _: folder, is_final=False
    )
    claim.report(0, 0.5, record_at(7, 0.5))
    run = TrialRun(claim, assignment, cast(Recorder, recorder))
    run.bests.append(0.5)
    return run


@pytest.mark.parametrize("end", ENDS)
def test_an_end_that_is_refused_is_not_logged_as_one(
    study: Study,
    trials_of: Callable[..., Trials],
    now: list[float],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    claim, other = must_claim(trials_of(study)), trials_of(study)

    def lose() -> None:
        while other.claim() is None:
            now[0] += 10

    recorder = FakeRecorder(lose)
    with caplog.at_level(logging.INFO):
        ENDS[end](run_of(claim, study, recorder, monkeypatch))

    assert not [record for record in caplog.messages if record.startswith(end)]
    assert "trial 0: its end was refused" in caplog.messages[-1]
    assert recorder.has_discarded


@pytest.mark.parametrize("end", ENDS)
def test_an_end_whose_acknowledgement_is_lost_is_logged_as_one(
    study: Study,
    database: Database,
    trials_of: Callable[..., Trials],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    recorder = FakeRecorder(lambda: lose_next_answer(database, monkeypatch))
    with caplog.at_level(logging.INFO):
        ENDS[end](run_of(must_claim(trials_of(study)), study, recorder, monkeypatch))

    assert [record for record in caplog.messages if record.startswith(end)]
    assert not recorder.has_discarded
