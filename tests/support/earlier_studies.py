"""Studies that were searched before, without the training."""

from collections.abc import Callable

from foldrace.search.session import Session
from foldrace.search.study_store import open_study, public_toml
from foldrace.search.trials.claims import Trials
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.knobs import Value
from tests.support.claims import NO_HEARTBEAT, must_claim
from tests.support.records import record_at

Level = Callable[[dict[str, Value]], float]


def by_gamma(sampled: dict[str, Value]) -> float:
    """A level that is best at a gamma of 0.9."""
    return 0.8 - 0.5 * (float(sampled["gamma"]) - 0.9) ** 2


def search(session: Session, trials: int, level: Level = by_gamma) -> None:
    """Open the session's study and end so many of its trials, each with the level of its knobs in every fold."""
    study = session.study
    atomic_write(session.workspace.study_file, public_toml(study))
    open_study(session.database, study)
    of_worker = Trials(session.database, study, WorkerIdentity(), heartbeat=NO_HEARTBEAT)
    for _ in range(trials):
        claim = must_claim(of_worker)
        value = level(claim.sampled)
        for fold in range(study.folds.count):
            for index in range(study.defaults.evaluations):
                claim.report(fold, value, record_at(index, value - 0.01 * (7 - index) + 0.001 * fold))
        claim.finish(value)
