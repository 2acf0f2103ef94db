"""A random history of workers, watched by a checker; `python -m benchmarks.workers --only history` runs a long one."""

from collections.abc import Callable

from foldrace.search.study_store import open_study
from foldrace.storage.database import Database
from foldrace.studies.study import Study
from tests.support.history import History, trials_for

STEPS = 150


def test_no_history_loses_or_doubles_anything(database: Database, make_study: Callable[..., Study]) -> None:
    study = make_study(trials=trials_for(STEPS))
    open_study(database, study)
    history = History(database, study, seed=4)
    history.run(STEPS)

    assert len(history.checker.ended) > STEPS / 40
