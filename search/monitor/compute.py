"""What a study has spent, and what pruning saved, in fold-epochs: counted by the database, not trial by trial."""

import json
from dataclasses import dataclass

import sqlalchemy as sa

from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.studies.study import Study

_TRIALS, _PARAMS, _REPORTS = tables.trials.c, tables.trial_params.c, tables.trial_intermediate_values.c


@dataclass(frozen=True)
class FoldEpochs:
    """Fold-epochs (one pass over one training part) of all trials so far.

    Attributes:
        spent: by trials in any state, up to their last evaluation.
        saved: that pruned trials would have cost further.
    """

    spent: float
    saved: float


def read_fold_epochs(database: Database, study: Study, name: str) -> FoldEpochs:
    """What the study of that name has spent: `study` itself, or a final job of it. StorageError: there is none."""
    defaults = study.defaults
    cells_per_trial = study.folds.count * defaults.evaluations
    spent = saved = 0.0
    for row in database.read(lambda connection: _groups(connection, name)):
        epochs = _epochs(row.param_value, row.distribution_json) or defaults.epochs
        cells = int(row.cells)  # PostgreSQL sums to a Decimal
        spent += cells * epochs / defaults.evaluations
        if row.state == "PRUNED":
            saved += (row.trials * cells_per_trial - cells) * epochs / defaults.evaluations
    return FoldEpochs(spent, saved)


def running_epochs(database: Database, study: Study, name: str) -> dict[int, float]:
    """The epochs of each fold of the trials that run now, by trial number."""

    def work(connection: sa.Connection) -> dict[int, float]:
        epochs = sa.and_(_PARAMS.trial_id == _TRIALS.trial_id, _PARAMS.param_name == "epochs")
        query = sa.select(_TRIALS.number, _PARAMS.param_value, _PARAMS.distribution_json)
        query = query.select_from(tables.trials).outerjoin(tables.trial_params, epochs)
        query = query.where(_TRIALS.study_id == optuna_rows.find_study_id(connection, name), _TRIALS.state == "RUNNING")
        default = study.defaults.epochs
        return {number: _epochs(stored, text) or default for number, stored, text in connection.execute(query)}

    return database.read(work)


def _groups(connection: sa.Connection, name: str) -> list[sa.Row[tuple[str, float, str, int, int]]]:
    """Trials and their reported cells, by state and epochs."""
    study_id = optuna_rows.find_study_id(connection, name)
    done = sa.func.max(_REPORTS.step) + 1  # not their number: a fold of few steps reports fewer
    cells = sa.select(_REPORTS.trial_id, done.label("cells")).group_by(_REPORTS.trial_id).subquery()
    epochs = sa.and_(_PARAMS.trial_id == _TRIALS.trial_id, _PARAMS.param_name == "epochs")
    query = (
        sa.select(
            _TRIALS.state,
            _PARAMS.param_value,
            sa.func.max(_PARAMS.distribution_json).label("distribution_json"),
            sa.func.count().label("trials"),
            sa.func.coalesce(sa.func.sum(cells.c.cells), 0).label("cells"),
        )
        .select_from(tables.trials)
        .outerjoin(tables.trial_params, epochs)
        .outerjoin(cells, cells.c.trial_id == _TRIALS.trial_id)
        .where(_TRIALS.study_id == study_id)
        .group_by(_TRIALS.state, _PARAMS.param_value)
    )
    return list(connection.execute(query))


def _epochs(stored: float | None, distribution_json: str | None) -> float | None:
    """The epochs that Optuna's stored number means: an index, where they are searched over choices."""
    if stored is None or distribution_json is None:
        return None
    choices = json.loads(distribution_json)["attributes"].get("choices")
    return stored if choices is None else float(choices[int(stored)])
