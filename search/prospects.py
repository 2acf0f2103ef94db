"""What further trials of a study can be expected to gain, from what its complete trials left in the database."""

import json

import sqlalchemy as sa

from search.enough import Prospect, prospect
from storage import rows, tables
from storage.database import Database
from storage.workers import study_id_of
from studies.study import Study

_TRIALS, _ATTRS = tables.trials.c, tables.trial_attrs.c


def prospect_of(database: Database, study: Study) -> Prospect | None:
    """What as many trials as are still queued (ten, when none is) can gain; None while too few are complete."""
    folds, states = database.read(lambda connection: _read(database, connection, study))
    ended = sum(count for state, count in states.items() if state in ("COMPLETE", "PRUNED"))
    return prospect(folds, ended, states.get("WAITING", 0) or 10)


def _read(database: Database, connection: sa.Connection, study: Study) -> tuple[list[list[float]], dict[str, int]]:
    """The bests of the folds of each complete trial; and how many trials are in each state."""
    of_study = _TRIALS.study_id == study_id_of(database, connection, study.name)
    counted = sa.select(_TRIALS.state, sa.func.count().label("trials")).where(of_study).group_by(_TRIALS.state)
    states = {row.state: int(row.trials) for row in connection.execute(counted)}
    last = study.defaults.evaluations - 1
    keys = [rows.cell_key(fold, last) for fold in range(study.folds.count)]
    query = sa.select(_ATTRS.trial_id, _ATTRS.value_json).join(tables.trials, _TRIALS.trial_id == _ATTRS.trial_id)
    query = query.where(of_study, _TRIALS.state == "COMPLETE", _ATTRS.key.in_(keys))
    bests: dict[int, list[float]] = {}
    for trial_id, text in connection.execute(query):
        bests.setdefault(trial_id, []).append(float(json.loads(text)["best"]))
    return [folds for folds in bests.values() if len(folds) == study.folds.count], states
