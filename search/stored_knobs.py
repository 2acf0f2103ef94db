"""The knobs of trials as they are stored, read without optuna, whose import takes as long as all else of a command."""

import json
from collections import defaultdict
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from foldrace.storage import tables
from foldrace.studies.knobs import Value

_TRIALS, _PARAMS = tables.trials.c, tables.trial_params.c


def read_knobs(connection: sa.Connection, trials: sa.ColumnElement[bool]) -> dict[int, dict[str, Value]]:
    """The searched knobs of the trials that meet a condition, by number. Trials that wait have none yet."""
    query = (
        sa.select(_TRIALS.number, _PARAMS.param_name, _PARAMS.param_value, _PARAMS.distribution_json)
        .join(tables.trials, _TRIALS.trial_id == _PARAMS.trial_id)
        .where(trials)
        .order_by(_PARAMS.param_id)
    )
    found: dict[int, dict[str, Value]] = defaultdict(dict)
    for number, name, stored, distribution in connection.execute(query):
        found[number][name] = decode(stored, distribution)
    return found


def decode(stored: float, distribution: str) -> Value:
    """The value behind the number that Optuna stores; `distribution` is the JSON that it stores beside it."""
    parsed = _parsed(distribution)
    choices = parsed["attributes"].get("choices")
    if choices is not None:
        value: Value = choices[int(stored)]
        return value
    return int(stored) if parsed["name"] == "IntDistribution" else stored


@lru_cache
def _parsed(distribution: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(distribution)
    return found
