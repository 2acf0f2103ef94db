"""T13 in small: many report at once; `python -m benchmarks.workers --only reports --full` is the whole."""

from collections.abc import Callable
from contextlib import closing
from multiprocessing.context import ForkContext

import optuna

from foldrace.search.study_store import open_study
from foldrace.search.trials.claims import Trials
from foldrace.storage.database import Database
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.study import Study
from tests.support.claims import must_claim
from tests.support.records import record_at

PROCESSES, TRIALS_EACH, STEPS = 5, 4, 10


def report_and_finish(url: str, study: Study) -> None:
    """Claim a few trials and report to them in turns, as a worker of each would."""
    with closing(Database.open(url)) as database:
        trials = Trials(database, study, WorkerIdentity())
        claims = [must_claim(trials) for _ in range(TRIALS_EACH)]
        for step in range(STEPS):
            for claim in claims:
                claim.report(step // 8, 0.5, record_at(step % 8, 0.5))
        for claim in claims:
            claim.finish(0.5)


def test_every_report_of_many_at_once_is_stored(
    postgres_url: str, make_study: Callable[..., Study], forks: ForkContext
) -> None:
    study = make_study(trials=PROCESSES * TRIALS_EACH)
    with closing(Database.open(postgres_url)) as database:
        open_study(database, study)

    with forks.Pool(PROCESSES) as pool:
        pool.starmap(report_and_finish, [(postgres_url, study)] * PROCESSES, chunksize=1)

    with closing(Database.open(postgres_url)) as database:
        stored = optuna.load_study(study_name=study.name, storage=database.storage).get_trials()
    assert [(trial.value, len(trial.intermediate_values)) for trial in stored] == [(0.5, STEPS)] * len(stored)
    assert len(stored) == PROCESSES * TRIALS_EACH
