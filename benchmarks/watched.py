"""A study of many ended trials as a search leaves it: each evaluation with its bits, a note and a picture per trial.

Written in bulk, under the names and in the shapes that workers write, so that whoever reads it has as much to read.
"""

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa

from benchmarks.databases import make_study, space_of
from foldrace.search.race.space import SearchSpace, encode_params
from foldrace.search.recording.recorder import SECONDS
from foldrace.search.recording.trial_note import FoldOutcome, TrialOutcome, render_note
from foldrace.search.study_store import open_study
from foldrace.search.trials.trial_ends import ATTEMPTS
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.studies.study import Study
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.metrics import Scores

ROWS = 250  # of a validation part, as in the demo
PRUNED = 0.75  # of the trials
STEPS = 32  # of an epoch
WHY = (
    "fold 1, evaluation 3 (epoch 2.6): expected to end -0.0706 against trial 2, probability of beating it 0.023, "
    "expected gain 4.1% of an unknown trial's"
)

Row = dict[str, Any]


@dataclass(frozen=True)
class _Ended:
    """A trial with all that is to be stored of it."""

    trial_id: int
    outcome: TrialOutcome

    @property
    def cells(self) -> Iterator[tuple[int, EvaluationRecord]]:
        return ((fold.fold, evaluation) for fold in self.outcome.folds for evaluation in fold.curve)


def make_watched(database: Database, name: str, count: int) -> Study:
    """Make a study of `count` ended trials."""
    study, draw = make_study(name, count), random.Random(0)
    open_study(database, study)
    space = space_of(study)

    def work(connection: sa.Connection) -> None:
        study_id = optuna_rows.find_study_id(connection, name)
        ids = connection.execute(sa.select(tables.trials.c.trial_id).where(tables.trials.c.study_id == study_id))
        trials = [_Ended(i, _outcome(number, study, space, draw)) for number, i in enumerate(ids.scalars())]
        _end(connection, trials, draw)
        _describe(connection, study_id, trials, space)

    database.transact(work)
    return study


def _outcome(number: int, study: Study, space: SearchSpace, draw: random.Random) -> TrialOutcome:
    pruned = number > 3 and draw.random() < PRUNED
    sampled = {knob: draw.uniform(d.low, d.high) for knob, d in space.items() if knob != "epochs"}  # type: ignore[attr-defined]
    knobs = study.hyperparameters(sampled | {"epochs": draw.randint(3, 8)})
    skill, cells = draw.gauss(0.72, 0.03), draw.randint(4, 20) if pruned else study.folds.count * knobs.evaluations
    folds = []
    for fold in range(-(-cells // knobs.evaluations)):
        seen = min(knobs.evaluations, cells - fold * knobs.evaluations)
        curve = _curve(skill + draw.gauss(0, 0.01), knobs.epochs / knobs.evaluations, seen, draw)
        folds.append(FoldOutcome(fold, curve, 7.1 if seen == knobs.evaluations else None))
    value = None if pruned else sum(fold.best.best for fold in folds) / len(folds)
    state, why = ("PRUNED", WHY) if pruned else ("COMPLETE", "")
    sampled = {"epochs": knobs.epochs, **sampled}
    return TrialOutcome(number, state, value, why, "accuracy", sampled, knobs, tuple(folds), 1, "host-1234-abcd on cpu")


def _curve(skill: float, step: float, seen: int, draw: random.Random) -> tuple[EvaluationRecord, ...]:
    curve: list[EvaluationRecord] = []
    for index in range(seen):
        count = round(ROWS * skill * (1 - 0.6 ** (index + 1)) + draw.gauss(0, 2))
        accuracy, epoch = count / ROWS, (index + 1) * step
        best = max([accuracy, *(e.best for e in curve)])
        scores = Scores(accuracy, accuracy * 0.9, accuracy * 0.95, accuracy * 0.9, draw.random() / 10)
        curve.append(
            EvaluationRecord(
                index=index,
                step=round(epoch * STEPS),
                epoch=epoch,
                lr=draw.random() / 1e3,
                train_loss=2.3 - accuracy + draw.random() / 10,
                eval_loss=2.2 - accuracy + draw.random() / 10,
                scores=scores,
                right=_bits(count, draw),
                rows=ROWS,
                best=best,
            )
        )
    return tuple(curve)


def _bits(count: int, draw: random.Random) -> str:
    """Which rows are right: `count` of them, the easy ones first in most cases, as rows are not equally hard."""
    hard_last = sorted(range(ROWS), key=lambda row: row / ROWS + draw.gauss(0, 0.3))[:count]
    return np.packbits(np.isin(np.arange(ROWS), hard_last)).tobytes().hex()


def _end(connection: sa.Connection, trials: list[_Ended], draw: random.Random) -> None:
    """Give each trial its state, its times, its reports and its value."""
    now, seconds = datetime(2026, 1, 1), 0.0
    ended, values, reports = [], [], []
    for trial in trials:
        cells = list(trial.cells)
        begun, seconds = now + timedelta(seconds=seconds), seconds + len(cells)
        times = {"datetime_start": begun, "datetime_complete": now + timedelta(seconds=seconds)}
        ended.append({"id": trial.trial_id, "state": trial.outcome.state} | times)
        estimates = [{"step": 8 * fold + e.index, "intermediate_value": e.best} for fold, e in cells]
        reports += [{"trial_id": trial.trial_id, "intermediate_value_type": "FINITE"} | row for row in estimates]
        value = trial.outcome.value or estimates[-1]["intermediate_value"]
        values.append({"trial_id": trial.trial_id, "objective": 0, "value": value, "value_type": "FINITE"})
    update = sa.update(tables.trials).where(tables.trials.c.trial_id == sa.bindparam("id"))
    columns: Row = {name: sa.bindparam(name) for name in ("state", "datetime_start", "datetime_complete")}
    connection.execute(update.values(columns), ended)
    connection.execute(sa.insert(tables.trial_values), values)
    connection.execute(sa.insert(tables.trial_intermediate_values), reports)


def _describe(connection: sa.Connection, study_id: int, trials: list[_Ended], space: SearchSpace) -> None:
    """Give each trial its knobs, its attributes, its note and its picture."""
    connection.execute(sa.insert(tables.trial_params), [row for t in trials for row in _params(t, space)])
    connection.execute(sa.insert(tables.trial_attrs), [row for trial in trials for row in _attrs(trial)])
    connection.execute(sa.insert(tables.trial_system_attrs), [_picture(trial) for trial in trials])
    connection.execute(sa.insert(tables.study_system_attrs), [r for t in trials for r in _note(t, study_id)])


def _params(trial: _Ended, space: SearchSpace) -> list[Row]:
    return [
        {"trial_id": trial.trial_id, "param_name": knob, "param_value": value, "distribution_json": text}
        for knob, (value, text) in encode_params(space, trial.outcome.sampled).items()
    ]


def _attrs(trial: _Ended) -> list[Row]:
    attrs: Row = {optuna_rows.cell_key(fold, e.index): e.to_json() for fold, e in trial.cells}
    attrs |= {"worker": trial.outcome.worker, SECONDS: 0.312, ATTEMPTS: 1}
    attrs |= {optuna_rows.REASON: trial.outcome.reason} if trial.outcome.reason else {}
    return [{"trial_id": trial.trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attrs.items()]


def _picture(trial: _Ended) -> Row:
    named = str(uuid.UUID(int=trial.trial_id))
    meta = {"artifact_id": named, "filename": "curves.png", "mimetype": "image/png", "encoding": None}
    return {"trial_id": trial.trial_id, "key": f"artifacts:{named}", "value_json": json.dumps(json.dumps(meta))}


def _note(trial: _Ended, study_id: int) -> list[Row]:
    prefix = f"dashboard:{trial.trial_id}"
    texts: Row = {f"{prefix}:note_ver": 1, f"{prefix}:note_str:0": render_note(trial.outcome)}
    return [{"study_id": study_id, "key": key, "value_json": json.dumps(value)} for key, value in texts.items()]
