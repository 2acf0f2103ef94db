"""The tables that are ours, their versions, and Optuna's tables as far as we read and write them.

Ours are prefixed `foldrace_`. Optuna's belong to Optuna: it makes and upgrades them, we never change their shape.
"""

from collections.abc import Callable

import sqlalchemy as sa

VERSION = 2
WHOLE = -1  # the fold of a lease on all folds of a trial
FIRST = 0  # the fold in which every trial races, where folds are claimed
# MIGRATIONS[n] turns tables of version n into those of version n + 1, inside the caller's transaction.
MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {1: lambda connection: _split_leases(connection)}

ours = sa.MetaData()

version = sa.Table(
    "foldrace_version",
    ours,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
)

# One row for each fold that has begun, of a trial that has not ended; or one for all folds of a trial (WHOLE).
# `state`: claiming (its values are being drawn); held; released (given back by its worker); orphaned (its worker is
# known to be dead); done. A trial whose rows are all done is put aside. `fruitless`: attempts in a row that left no new
# checkpoint or evaluation.
leases = sa.Table(
    "foldrace_cells",
    ours,
    sa.Column("study_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("trial_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fold", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("token", sa.String(32), nullable=False, unique=True),
    sa.Column("counter", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("fruitless", sa.Integer, nullable=False),
    sa.Column("progressed", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("note", sa.Text),
)

# One row for each worker process, for people to look at: nothing is ever decided by it.
workers = sa.Table(
    "foldrace_workers",
    ours,
    sa.Column("owner", sa.String(200), primary_key=True),
    sa.Column("study_id", sa.Integer, nullable=False, index=True),
    sa.Column("host", sa.String(200), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("device", sa.String(50), nullable=False),
    sa.Column("number", sa.Integer),
    sa.Column("fold", sa.Integer),
    sa.Column("epoch", sa.Float(53)),
    sa.Column("accuracy", sa.Float(53)),
    sa.Column("rows_per_second", sa.Float(53)),
    sa.Column("counter", sa.BigInteger, nullable=False),
    sa.Column("stopped", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("seen_at", sa.Float(53), nullable=False),
)

controls = sa.Table(
    "foldrace_controls",
    ours,
    sa.Column("study_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("control", sa.String(20), nullable=False),
)

optunas = sa.MetaData()

_STATE = sa.Enum("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING", name="trialstate")
_DIRECTION = sa.Enum("NOT_SET", "MINIMIZE", "MAXIMIZE", name="studydirection")
_VALUE_TYPE = sa.Enum("FINITE", "INF_POS", "INF_NEG", name="trialvaluetype")
_INTERMEDIATE_TYPE = sa.Enum("FINITE", "INF_POS", "INF_NEG", "NAN", name="trialintermediatevaluetype")

studies = sa.Table(
    "studies",
    optunas,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("study_name", sa.String(512), nullable=False),
)

study_directions = sa.Table(
    "study_directions",
    optunas,
    sa.Column("study_direction_id", sa.Integer, primary_key=True),
    sa.Column("direction", _DIRECTION, nullable=False),
    sa.Column("study_id", sa.Integer, nullable=False),
    sa.Column("objective", sa.Integer, nullable=False),
)

study_attrs = sa.Table(
    "study_user_attributes",
    optunas,
    sa.Column("study_user_attribute_id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.Integer),
    sa.Column("key", sa.String(512)),
    sa.Column("value_json", sa.Text),
)

study_system_attrs = sa.Table(
    "study_system_attributes",
    optunas,
    sa.Column("study_system_attribute_id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.Integer),
    sa.Column("key", sa.String(512)),
    sa.Column("value_json", sa.Text),
)

trials = sa.Table(
    "trials",
    optunas,
    sa.Column("trial_id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer),
    sa.Column("study_id", sa.Integer),
    sa.Column("state", _STATE, nullable=False),
    # UTC without a time zone.
    sa.Column("datetime_start", sa.DateTime),
    sa.Column("datetime_complete", sa.DateTime),
)

trial_attrs = sa.Table(
    "trial_user_attributes",
    optunas,
    sa.Column("trial_user_attribute_id", sa.Integer, primary_key=True),
    sa.Column("trial_id", sa.Integer),
    sa.Column("key", sa.String(512)),
    sa.Column("value_json", sa.Text),
)

trial_system_attrs = sa.Table(
    "trial_system_attributes",
    optunas,
    sa.Column("trial_system_attribute_id", sa.Integer, primary_key=True),
    sa.Column("trial_id", sa.Integer),
    sa.Column("key", sa.String(512)),
    sa.Column("value_json", sa.Text),
)

trial_params = sa.Table(
    "trial_params",
    optunas,
    sa.Column("param_id", sa.Integer, primary_key=True),
    sa.Column("trial_id", sa.Integer),
    sa.Column("param_name", sa.String(512)),
    sa.Column("param_value", sa.Float(53)),
    sa.Column("distribution_json", sa.Text),
)

trial_values = sa.Table(
    "trial_values",
    optunas,
    sa.Column("trial_value_id", sa.Integer, primary_key=True),
    sa.Column("trial_id", sa.Integer, nullable=False),
    sa.Column("objective", sa.Integer, nullable=False),
    sa.Column("value", sa.Float(53)),
    sa.Column("value_type", _VALUE_TYPE, nullable=False),
)

trial_intermediate_values = sa.Table(
    "trial_intermediate_values",
    optunas,
    sa.Column("trial_intermediate_value_id", sa.Integer, primary_key=True),
    sa.Column("trial_id", sa.Integer, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("intermediate_value", sa.Float(53)),
    sa.Column("intermediate_value_type", _INTERMEDIATE_TYPE, nullable=False),
)


def _split_leases(connection: sa.Connection) -> None:
    """Version 1 leased trials whole: those that have begun go on so, in their old order."""
    old = sa.Table(
        "foldrace_leases",
        sa.MetaData(),
        *(sa.Column(column.name, column.type) for column in leases.columns if column.name != "fold"),
    )
    leases.create(connection)
    kept = [column.name for column in old.columns]
    rows = sa.select(*old.columns, sa.literal(WHOLE))
    connection.execute(sa.insert(leases).from_select([*kept, "fold"], rows))
    old.drop(connection)
