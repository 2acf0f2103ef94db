"""Reads the status of a study in one transaction, from one snapshot: aggregated by the database, quick at any size.

Never imports optuna or torch, and never reads the records of trials one by one, but for an assessment that no worker
has stored.
"""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from foldrace.search.assessment.stored import find_assessment
from foldrace.search.compute import TrialCompute, read_compute, total_fold_epochs
from foldrace.search.ending import Usage, find_end, read_usage
from foldrace.search.monitor.status import (
    BestTrial,
    FailedTrial,
    FinalStatus,
    OrphanedTrial,
    StudyStatus,
    WorkerStatus,
)
from foldrace.search.prior_store import read_prior_statuses
from foldrace.search.ranking import read_folds_aside, select_ranked
from foldrace.search.stored_knobs import read_knobs
from foldrace.search.study_store import IDENTITY, StoredStudy, find_study, folds_of_trials, read_study
from foldrace.storage import optuna_rows, tables, workers
from foldrace.storage.database import Database
from foldrace.storage.leases import lease as leases
from foldrace.storage.optuna_rows import ENDED, State
from foldrace.studies.study import Study

_TRIALS, _ATTRS = tables.trials.c, tables.trial_attrs.c
_VALUES = tables.trial_values.c
_REPORTS, _LEASES, _WORKERS = tables.trial_intermediate_values.c, tables.leases.c, tables.workers.c
_STATES: tuple[State, ...] = (*ENDED, "RUNNING", "WAITING")
_MAX_FAILURES = 20
_PACE_TRIALS = 20  # those that ended last
_ORPHANED_BECAUSE = {
    "released": "released",
    "orphaned": "its worker died",
    **dict.fromkeys(leases.OWNED, "its worker is silent"),
}


def read_status(database: Database, name: str) -> StudyStatus:
    """The status of a study, or of a final job, at one moment.

    Raises:
        StorageError: there is none of that name, or foldrace did not make it.
    """
    return database.snapshot(lambda connection: _read(connection, read_study(connection, name)))


def find_status(database: Database, name: str) -> StudyStatus | None:
    """The status of a study, or of a final job, at one moment; None where there is none of that name."""

    def work(connection: sa.Connection) -> StudyStatus | None:
        found = find_study(connection, name)
        return None if found is None else _read(connection, found)

    return database.snapshot(work)


def with_assessment(database: Database, status: StudyStatus) -> StudyStatus:
    """The status of a study with how good its leader is; that of a final job as it is.

    The live view does without: where no worker has just stored it, all curves are read.
    """
    if status.is_final or status.best is None:
        return status
    return replace(status, assessment=find_assessment(database, status.name))


def _read(connection: sa.Connection, stored: StoredStudy) -> StudyStatus:
    study, study_id = stored.parse(), stored.study_id
    compute = read_compute(connection, study_id, study)
    spent = total_fold_epochs(compute, study)
    usage = read_usage(connection, study_id, study, spent.spent) if stored.name == study.name else None
    seen = _workers(connection, study_id)
    search, folds = study.search, read_folds_aside(connection, study_id)
    alive = {worker.owner for worker in seen if not worker.stopped and worker.silent_seconds <= search.lease_seconds}
    is_scored = stored.name == study.name or study.final.validation
    repeated = _repeated(connection, study_id) if stored.name != study.name else set[int]()
    return StudyStatus(
        study=study,
        name=stored.name,
        control=workers.read_control(connection, study_id),
        trials=dict(sorted(Counter(trial.state for trial in compute if trial.trial_id not in repeated).items())),
        evaluations=_evaluations(connection, study_id),
        best=_best(connection, study_id) if is_scored else None,
        first=_first_value(connection, study_id) if is_scored else None,
        seconds_each=_seconds_held(usage, compute) or _seconds_each(connection, study_id),
        finals=_jobs(connection, stored, "final"),
        rescores=_jobs(connection, stored, "rescore"),
        workers=seen,
        failures=_failures(connection, study_id, repeated),
        orphans=_orphans(connection, study_id, alive),
        aside={trial.number: folds[trial.trial_id] for trial in compute if trial.trial_id in folds},
        finals_left=_finals_left(connection, study_id, study) if usage and search.is_by_folds else 0,
        fold_epochs=spent,
        epochs={trial.number: trial.epochs for trial in compute if trial.state == "RUNNING"},
        priors=read_prior_statuses(connection, study_id),
        usage=usage,
        end=None if usage is None else find_end(search, usage),
    )


def _evaluations(connection: sa.Connection, study_id: int) -> dict[State, int]:
    query = sa.select(_TRIALS.state, sa.func.count()).join(
        tables.trial_intermediate_values, _REPORTS.trial_id == _TRIALS.trial_id
    )
    return dict(connection.execute(query.where(_TRIALS.study_id == study_id).group_by(_TRIALS.state)).all())


def _best(connection: sa.Connection, study_id: int) -> BestTrial | None:
    found = connection.execute(select_ranked(study_id).limit(1)).first()
    if found is None:
        return None
    of_best = sa.and_(_TRIALS.study_id == study_id, _TRIALS.number == found.number)
    cells = sa.select(_ATTRS.key).join(tables.trials, _TRIALS.trial_id == _ATTRS.trial_id)
    cells = cells.where(of_best, _ATTRS.key.like(optuna_rows.CELLS)).limit(1)
    knobs, by_hand = read_knobs(connection, of_best), connection.execute(cells).first() is None
    return BestTrial(found.number, found.value, knobs.get(found.number, {}), by_hand)


def _jobs(connection: sa.Connection, stored: StoredStudy, kind: str) -> tuple[FinalStatus, ...]:
    """The final jobs of a study, or its rescore, in the order in which they were begun; such a job itself."""
    studies, identity = tables.studies.c, tables.study_attrs.c
    of_study = (identity.study_id == studies.study_id) & (identity.key == IDENTITY)
    query = (
        sa.select(studies.study_id, studies.study_name, identity.value_json)
        .outerjoin(tables.study_attrs, of_study)
        .where((studies.study_name == stored.name) | studies.study_name.startswith(f"{stored.name}/", autoescape=True))
        .where(studies.study_name.contains(f"/{kind}-", autoescape=True))
        .order_by(studies.study_id)
    )
    jobs = (_job(connection, *found) for found in connection.execute(query).all())
    return tuple(job for job in jobs if job.folds)


def _job(connection: sa.Connection, study_id: int, name: str, settings: str | None) -> FinalStatus:
    query = sa.select(_TRIALS.state, _VALUES.value).select_from(tables.trials)
    query = query.outerjoin(tables.trial_values, _VALUES.trial_id == _TRIALS.trial_id)
    query = query.where(_TRIALS.study_id == study_id, _TRIALS.trial_id.not_in(_repeated(connection, study_id)))
    found = connection.execute(query).all()
    states, values = Counter(row.state for row in found), [row.value for row in found if row.value is not None]
    is_scored = json.loads(settings or "{}").get("final.validation") != "false"
    mean = statistics.fmean(values) if values and is_scored else None
    return FinalStatus(name, len(found), sum(states[one] for one in ENDED), states["FAIL"], mean, is_scored)


def _repeated(connection: sa.Connection, study_id: int) -> set[int]:
    """The ids of a job's trials whose fold a later trial trains again, as they failed or their files were lost."""
    folds = folds_of_trials(connection, study_id, *_STATES)
    last = {fold: trial_id for trial_id, fold in sorted(folds.items())}
    return set(folds) - set(last.values())


def _first_value(connection: sa.Connection, study_id: int) -> float | None:
    found = connection.execute(select_ranked(study_id).where(_TRIALS.number == 0)).first()
    return None if found is None else found.value


def _seconds_each(connection: sa.Connection, study_id: int) -> float | None:
    query = sa.select(_TRIALS.datetime_start, _TRIALS.datetime_complete).where(
        _TRIALS.study_id == study_id, _TRIALS.datetime_start.is_not(None), _TRIALS.datetime_complete.is_not(None)
    )
    found = connection.execute(query.order_by(_TRIALS.datetime_complete.desc()).limit(_PACE_TRIALS)).all()
    lasted = [(ended - begun).total_seconds() for begun, ended in found if ended >= begun]
    return statistics.median(lasted) if lasted else None  # a clock that was set meanwhile makes one of them absurd


def _seconds_held(usage: Usage | None, trials: Sequence[TrialCompute]) -> float | None:
    """That workers have held a trial on average; None where that is not known."""
    if usage is None or not usage.gpu_hours:
        return None
    begun = sum(trial.spent > 0 for trial in trials)
    return usage.gpu_hours * 3600 / begun if begun else None


def _finals_left(connection: sa.Connection, study_id: int, study: Study) -> int:
    return max(study.search.finals - optuna_rows.count_finals(connection, study_id), 0)  # fewer are asked for now


def _workers(connection: sa.Connection, study_id: int) -> tuple[WorkerStatus, ...]:
    names = [_WORKERS[name] for name in WorkerStatus.__dataclass_fields__ if name != "silent_seconds"]
    silent = (workers.seconds_now(connection) - _WORKERS.seen_at).label("silent_seconds")
    query = sa.select(*names, silent).where(_WORKERS.study_id == study_id).order_by(_WORKERS.host, _WORKERS.pid)
    return tuple(WorkerStatus(**row) for row in connection.execute(query).mappings())


def _failures(connection: sa.Connection, study_id: int, repeated: set[int]) -> tuple[FailedTrial, ...]:
    reason = sa.and_(_ATTRS.trial_id == _TRIALS.trial_id, _ATTRS.key == optuna_rows.FAILURE)
    query = sa.select(_TRIALS.number, _ATTRS.value_json).outerjoin(tables.trial_attrs, reason)
    failed = query.where(_TRIALS.study_id == study_id, _TRIALS.state == "FAIL", _TRIALS.trial_id.not_in(repeated))
    found = connection.execute(failed.order_by(_TRIALS.number.desc()).limit(_MAX_FAILURES))
    return tuple(FailedTrial(number, json.loads(text) if text else "no reason was recorded") for number, text in found)


def _orphans(connection: sa.Connection, study_id: int, alive: set[str]) -> tuple[OrphanedTrial, ...]:
    """The folds of running trials whose lease is free, or whose owner is not among those alive; and trials without."""
    query = sa.select(_TRIALS.number, _LEASES.fold, _LEASES.attempt, _LEASES.owner, _LEASES.state)
    of_trial = sa.and_(_LEASES.study_id == _TRIALS.study_id, _LEASES.trial_id == _TRIALS.trial_id)
    query = query.select_from(tables.trials).outerjoin(tables.leases, of_trial)
    found = connection.execute(
        query.where(_TRIALS.study_id == study_id, _TRIALS.state == "RUNNING").order_by(_TRIALS.number, _LEASES.fold)
    )
    return tuple(
        OrphanedTrial(
            row.number, _fold(row.fold), row.attempt or 0, row.owner or leases.FOREIGN, _orphaned_because(row)
        )
        for row in found
        if row.state != leases.DONE and (row.state not in leases.OWNED or row.owner not in alive)
    )


def _fold(stored: int | None) -> int | None:
    return None if stored in (None, tables.WHOLE) else stored


def _orphaned_because(row: Any) -> str:
    if row.owner in (None, leases.FOREIGN):
        return f"{leases.FOREIGN} began it, and no worker has it; one adopts it after a lease time"
    return _ORPHANED_BECAUSE[row.state]
