"""The assessment of a study's leader, as a worker stored it: `foldrace status` need not read all curves."""

import json

import sqlalchemy as sa

from foldrace.search.assessment.assessment import Assessment
from foldrace.search.study_store import RESCORE, job_name, read_study
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.leases.lease import DONE

RULES = 2  # of the assessment: one that was made by others is not read
KEY = "assessment"  # the system attribute of a study
_TRIALS, _LEASES, _STUDIES, _ATTRS = tables.trials.c, tables.leases.c, tables.studies.c, tables.study_system_attrs.c


def store_assessment(database: Database, name: str) -> Assessment | None:
    """Assess the leader of a study, and store that for `find_assessment`. Raises StorageError: no such study."""
    from foldrace.search.assessment.reader import read_assessment

    ended = database.snapshot(lambda connection: _ended(connection, name))
    found = read_assessment(database, name)
    text = json.dumps({"ended": ended, "assessment": None if found is None else found.to_json()})

    def work(connection: sa.Connection) -> None:
        row = {"study_id": read_study(connection, name).study_id, "key": KEY, "value_json": text}
        optuna_rows.upsert(connection, tables.study_system_attrs, ("study_id", "key"), row)

    database.transact(work)
    return found


def find_assessment(database: Database, name: str) -> Assessment | None:
    """How good the leader of a study is, by all trials and folds that have ended; None while too little is known.

    Raises:
        StorageError: there is no such study.
    """
    text, ended = database.snapshot(lambda connection: (_read(connection, name), _ended(connection, name)))
    stored = json.loads(text or "{}")
    if stored.get("ended") == ended:
        return None if stored["assessment"] is None else Assessment.from_json(stored["assessment"])
    from foldrace.search.assessment.reader import read_assessment  # it brings numpy, scipy and optuna in

    return read_assessment(database, name)


def _read(connection: sa.Connection, name: str) -> str | None:
    query = sa.select(_ATTRS.value_json).join(tables.studies, _STUDIES.study_id == _ATTRS.study_id)
    text: str | None = connection.execute(query.where(_STUDIES.study_name == name, _ATTRS.key == KEY)).scalar()
    return text


def _ended(connection: sa.Connection, name: str) -> list[list[object]]:
    """What had ended, of the study and of its rescore: an assessment counts while nothing more has.

    Failed trials count too: the folds of one are gone as it ends, and as many of others may be done by then.
    """
    of_study = _STUDIES.study_name.in_((name, job_name(name, RESCORE)))
    trials = sa.select(_STUDIES.study_name, _TRIALS.state, sa.func.count())
    trials = trials.join(tables.studies, _STUDIES.study_id == _TRIALS.study_id).where(of_study)
    folds = sa.select(_STUDIES.study_name, sa.literal(DONE), sa.func.count())
    folds = folds.join(tables.studies, _STUDIES.study_id == _LEASES.study_id).where(of_study, _LEASES.state == DONE)
    has_ended = _TRIALS.state.in_(optuna_rows.ENDED)
    counts = [
        *connection.execute(trials.where(has_ended).group_by(_STUDIES.study_name, _TRIALS.state)),
        *connection.execute(folds.group_by(_STUDIES.study_name)),
    ]
    return [[RULES], *sorted(list(row) for row in counts)]
